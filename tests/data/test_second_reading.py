"""Second readings: boxes and grades as they are found, and how far they agree with the notes."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from lhdlib.data import dataset, own_labels, second_reading
from lhdlib.data.second_reading import GROUPS, read_boxes, read_grades
from lhdlib.errors import UserError
from lhdlib.phantom import facts, truth
from lhdlib.phantom.disease import LENIENCY, judge
from tests.data.test_dataset import write_notes
from tests.data.trees import is_sentence

LEVELS = list(own_labels.LUMBAR_LEVELS)


def boxes(folder, classes: str, **files: str):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text(classes)
    for name, text in files.items():
        (folder / f"{name.removeprefix('p')}.txt").write_text(text)
    return folder


def column(*kinds: int) -> str:
    """Boxes from the top, written in another order."""
    lines = [f"{kind} 0.5 {0.1 + 0.18 * place:.2f} 0.2 0.1\n" for place, kind in enumerate(kinds)]
    return "".join(lines[::-1])


def values(reading) -> dict[tuple[str, str], float]:
    return {(row.patient, row.level): row.value for row in reading.discs.itertuples()}


def test_boxes_of_every_disc_are_counted_downwards(tmp_path):
    one, other = column(0, 0, 0, 1, 0), column(0, 0, 0, 0, 1)
    folder = boxes(tmp_path, "normal disc\nDisc Bulge\n", p0037_1=one, p0037_2=other, p0038=column(1, 0))
    reading = read_boxes(folder)
    assert values(reading) == {("0037", level): level in ("L4-L5", "L5-S1") for level in LEVELS}
    assert reading.unused == ["0038.txt: 2 boxes instead of 5, so their levels are open"]


def test_boxes_that_name_their_level(tmp_path):
    folder = boxes(tmp_path / "a", "L3-L4\nL4/5\nL5_S1 herniation\n", p1="1 .5 .5 .1 .1 0.9\n", p2="")
    assert values(read_boxes(folder)) == {
        (patient, level): (patient, level) == ("1", "L4-L5") for patient in "12" for level in LEVELS
    }  # without a box: normal
    folder = boxes(tmp_path / "b", "abnormal D4\nnormal D4\nno bulge D5\n", p1="0 .5 .5 .1 .1\n", p2="2 .5 .5 .1 .1\n")
    assert values(read_boxes(folder)) == {("1", "L4-L5"): True, ("2", "L5-S1"): False}  # without a box: not read


@pytest.mark.parametrize(
    ("classes", "text", "words"),
    [
        ("disc\nbulge\n", "", "neither bulge nor normal"),
        ("L4-L5 bulge\nbulge\n", "", "in all of its classes or in none"),
        ("", "", "in all of its classes or in none"),
        ("bulge\nnormal\n", "2 .5 .5 .1 .1\n", "holds no boxes"),
        ("bulge\nnormal\n", "0 .5 .5 .1\n", "holds no boxes"),
        ("bulge\nnormal\n", "0 .5 1.5 .1 .1\n", "holds no boxes"),
        ("bulge\nnormal\n", "zero\n", "holds no boxes"),
        ("bulge\nnormal\n", "nan nan nan nan nan\n", "holds no boxes"),
    ],
)
def test_unclear_boxes_are_one_sentence(classes, text, words, tmp_path):
    with pytest.raises(UserError) as error:
        read_boxes(boxes(tmp_path, classes, p0001=text))
    assert words in str(error.value) and is_sentence(error)
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(UserError, match="classes"):
        read_boxes(tmp_path)


def test_grades_are_read_in_both_countings(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text("Patient,Disc,Pfirrmann\n0001,D3,IV\n0001,L5-S1,2\n0001,D5,2.0\n")
    assert values(read_grades(path)) == {("0001", "L3-L4"): 4.0, ("0001", "L5-S1"): 2.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("patient,level\n1,L4-L5\n", "must have the columns"),
        ("patient,level,disc,grade\n1,L4-L5,D4,1\n", "must have the columns"),
        ("patient,level,grade\n1,L4-L5,6\n", "Row 2"),
        ("patient,level,grade\n1,L4-L5,\n", "no grade of 1 to 5"),
        ("patient,level,grade\n1,D7,3\n", "names no lumbar disc"),
        ("patient,level,grade\n,L4-L5,3\n", "names no patient"),
        ("patient,level,grade\n1,L4-L5,3\n1,L4-L5,4\n", "Row 3"),
    ],
)
def test_other_grades_are_one_sentence(text, words, tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_grades(path)
    assert words in str(error.value) and is_sentence(error)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Notes of 300 patients, boxes and grades, drawn by the one parameter that explains the archive's facts."""
    folder, rng = tmp_path_factory.mktemp("second"), np.random.default_rng(3)
    bottoms = -ndtri([facts.ABNORMAL[level] for level in LEVELS])  # a level's share decides its threshold
    severity = rng.normal(size=(300, 5)) - bottoms
    noted, second = (judge(rng, severity.ravel(), leniency=how).reshape(-1, 5) for how in (0, LENIENCY))
    rows, grades = [], "patient,level,grade\n"
    boxes(folder / "second_reading" / "boxes", "normal\nbulge\n")
    for number, (one, two, how) in enumerate(zip(noted, second, severity, strict=True), 1):
        said = [f"Disc bulge at {level}." for level, abnormal in zip(LEVELS, one, strict=True) if abnormal]
        rows.append((number, " ".join(said) or "Normal lumbar spine study."))
        (folder / "second_reading" / "boxes" / f"{number:04d}.txt").write_text(column(*map(int, two)))
        for level, value in zip(LEVELS, how + rng.normal(size=5), strict=True):
            grades += f"{number},{level},{int(np.clip(np.round(value + 3), 1, 5))}\n"
    rows.append((301, "No change since the previous examination."))  # left open
    (folder / "second_reading" / "boxes" / "0301.txt").write_text(column(0, 0, 0, 1, 1))
    (folder / "second_reading" / "grades.csv").write_text(grades)
    write_notes(folder / dataset.NOTES_NAME, rows)
    return folder, noted, second


@pytest.mark.slow
def test_agreement_is_that_of_the_drawn_readers_and_near_the_archives_facts(archive):
    folder, noted, second = archive
    readings = second_reading.read_readings(folder)
    assert list(readings) == ["bulge boxes", "Pfirrmann grade"] and not readings["bulge boxes"].unused
    table = second_reading.agreement(folder, readings).set_index(["reading", "discs of"])
    for group, levels in GROUPS.items():
        which = [LEVELS.index(level) for level in levels]
        one, two, row = noted[:, which].ravel(), second[:, which].ravel(), table.loc["bulge boxes", group]
        assert (row.discs, row.patients) == (len(one), 300)
        assert row["abnormal by the notes"] == pytest.approx(one.mean()) and row["by the reading"] == pytest.approx(
            two.mean()
        )
        assert row.agreement.value == pytest.approx((one == two).mean())
        assert row.kappa.value == pytest.approx(cohen_kappa_score(one, two))
        assert row.kappa.low < row.kappa.value < row.kappa.high
    for group in ("three lowest", "all five"):  # with intervals of 300 patients
        row = table.loc["bulge boxes", group]
        assert row.agreement.value == pytest.approx(facts.AGREEMENT[group], abs=0.05)
        assert row.kappa.low - 0.03 < facts.KAPPA[group] < row.kappa.high + 0.03
    grades = readings["Pfirrmann grade"].discs
    expected = roc_auc_score(noted.ravel(), grades.value)
    assert table.loc["Pfirrmann grade", "all five"].AUC.value == pytest.approx(expected)
    text = second_reading.shown(table.reset_index())
    assert text.kappa.str.fullmatch(r"–|-?[0-9.]+ \[-?[0-9.]+, [0-9.]+\]").all()
    assert "bulge boxes and Pfirrmann grade and the notes' labels" in second_reading.caption(folder, readings)


def test_where_nobody_provides_one_there_is_none(tmp_path):
    write_notes(tmp_path / dataset.NOTES_NAME, [(1, "Normal lumbar spine study.")])
    assert second_reading.read_readings(tmp_path) == {}
    assert second_reading.agreement(tmp_path, {}).empty


def test_a_phantoms_second_reader_is_named_as_one(tmp_path):
    archive = tmp_path / "archive"
    archive.mkdir()
    write_notes(archive / dataset.NOTES_NAME, [(1, "Disc bulge at L4-L5."), (2, "Normal lumbar spine study.")])
    rows = [{"patient": f"{n:04d}", "level": level, "second_reader": n % 2} for n in (1, 2) for level in LEVELS[3:]]
    truth.write_truth(tmp_path, [*rows, {"patient": "0001", "level": "T12-L1", "second_reader": 1}], {"1": packed()})
    readings = second_reading.read_readings(archive)
    table = second_reading.agreement(archive, readings).set_index("discs of")
    assert set(table.reading) == {"the phantom's second reader"}
    assert table.discs.to_dict() == {"L4-L5": 2, "L5-S1": 2, "three lowest": 4, "all five": 4}
    assert table.agreement["L4-L5"].value == 1 and table.agreement["L5-S1"].value == 0.5
    text = second_reading.shown(table.reset_index())
    assert pd.Series(text.AUC).eq("–").all() and text["by the reading"].tolist() == ["50.0%"] * 4


def packed() -> truth.PackedMask:
    return truth.PackedMask.of(np.zeros((2, 2), bool))
