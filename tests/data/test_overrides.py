"""Verdicts: no crash loses one, no damage is read as one, and each changes its own slab alone."""

import errno
import io
import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import ClassVar

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhdlib import files
from lhdlib.data import card, dataset, overrides
from lhdlib.data.discs import COLUMNS, LEVELS
from lhdlib.errors import UserError
from lhdlib.run import stale, workspace
from tests.data import trees
from tests.data.test_dataset import PROFILE, write_notes

WHY = ["", "plain", 'comma, quote " and ; semicolon', "zwei\nZeilen", "=1+1", "näher am Sakrum 🦴", '"']


def make_discs(studies=3, levels=4, slices=4) -> pd.DataFrame:
    """T2 slabs and their T1 partners, without a flag."""
    rows = []
    for study in range(studies):
        for level in range(levels):
            for weighting in ("T1", "T2"):
                paths = tuple(f"root/{study:04d}/study/{weighting}_{level}/{n}.ima" for n in range(slices))
                rows.append((f"{study:04d}", "study", weighting, LEVELS[level], paths, slices, 4.4, *[0.0] * 6, ""))
    return pd.DataFrame(rows, columns=COLUMNS)


def row_of(discs: pd.DataFrame, patient: str, level: str, weighting="T2"):
    return discs[(discs.patient == patient) & (discs.level == level) & (discs.weighting == weighting)].index[0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / overrides.NAME


# --- the table -------------------------------------------------------------------------------------------------------


def test_what_is_given_is_read(path):
    discs, rng, given = make_discs(), np.random.default_rng(0), []
    for number in range(60):
        disc = discs.iloc[rng.integers(len(discs))]
        verdict = str(rng.choice(overrides.VERDICTS))
        level = str(rng.choice(LEVELS)) if verdict in overrides.KEPT else ""
        why = WHY[number % len(WHY)]
        overrides.append_verdict(path, disc, verdict, level, " A.\tB. ", why=why)
        slab = "/".join(disc.paths[0].rsplit("/", 2)[1:])
        given.append(["A. B.", disc.patient, "study", slab, 4, level, verdict, " ".join(why.split())])
    table = overrides.read_overrides(path)
    assert table[overrides.COLUMNS[2:]].values.tolist() == given
    assert path.read_text().count("\n") == 61 and set(table.version) == {overrides.VERSION}
    age = datetime.now(UTC) - pd.to_datetime(table.when)
    assert (age < timedelta(minutes=1)).all() and (age > timedelta(seconds=-1)).all()


def test_no_table_has_no_verdicts(path):
    assert overrides.read_overrides(path).empty
    judged, unmatched = overrides.apply_overrides(make_discs(), overrides.read_overrides(path))
    assert (judged.verdict == "").all() and unmatched.empty
    pd.testing.assert_frame_equal(judged[COLUMNS], make_discs())


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
GIVEN = st.tuples(st.integers(0, 11), st.sampled_from(overrides.VERDICTS), st.sampled_from(LEVELS), TEXT)


def give(path, disc, verdict, level, who="A", why="") -> None:
    overrides.append_verdict(path, disc, verdict, level if verdict in overrides.KEPT else "", who, why=why)


class FullAfter(io.FileIO):
    """A file that takes so many bytes and then fails, as on a full disk, or as when the process ends."""

    left: ClassVar[int] = 0

    def write(self, data):
        super().write(data[: self.left])
        raise OSError(errno.EIO, "cut")


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(GIVEN, max_size=4), GIVEN, st.floats(0, 1))
def test_a_cut_at_any_byte_of_a_write_loses_at_most_the_last_row(tmp_path_factory, earlier, last, share):
    path = tmp_path_factory.mktemp("cut") / overrides.NAME
    discs = make_discs().query("weighting == 'T2'")
    for row, verdict, level, why in earlier:
        give(path, discs.iloc[row], verdict, level, why=why)
    table, content = overrides.read_overrides(path), path.read_bytes() if earlier else None
    row, verdict, level, why = last
    FullAfter.left = int(share * (len(content or b"") + 150))
    opened = Path.open
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match="was not kept"):
        patch.setattr(Path, "open", lambda place, mode: FullAfter(place, "w") if "w" in mode else opened(place, mode))
        give(path, discs.iloc[row], verdict, level, why=why)
    assert (path.read_bytes() if path.exists() else None) == content
    pd.testing.assert_frame_equal(overrides.read_overrides(path), table)
    give(path, discs.iloc[row], verdict, level, why=why)
    again = overrides.read_overrides(path)
    pd.testing.assert_frame_equal(again[:-1], table)
    assert again.verdict.iloc[-1] == verdict and len(list(path.parent.glob(".*overrides.csv"))) == 0


def test_a_table_cut_by_another_program_is_read_up_to_its_rows_or_refused(path):
    discs = make_discs()
    for number, why in enumerate(WHY[2:4]):
        give(path, discs.iloc[number], "abnormal", "L4-L5", "É. B.", why)
    content, table = path.read_bytes(), overrides.read_overrides(path)
    outcomes = set()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        try:
            read = overrides.read_overrides(path)
            pd.testing.assert_frame_equal(read.drop(columns="why"), table[: len(read)].drop(columns="why"))
            outcomes.add(len(read))
        except UserError as error:
            assert "mend" in str(error) or "restore" in str(error)
            assert path.read_bytes() == content[:size]
            outcomes.add("refused")
    assert outcomes == {0, 1, 2, "refused"}


def test_the_word_of_earlier_tables_is_read_as_todays(path):
    give(path, make_discs().iloc[0], "abnormal", "L4-L5")
    table = overrides.read_overrides(path)
    path.write_bytes(path.read_bytes().replace(b",abnormal,", b",herniated,"))
    pd.testing.assert_frame_equal(overrides.read_overrides(path), table)


def test_the_row_is_on_the_disk_before_the_table_is_replaced(path, monkeypatch):
    fsync, written = os.fsync, []
    monkeypatch.setattr(overrides.os, "fsync", lambda file: written.append(os.fstat(file).st_size) or fsync(file))
    for count in range(1, 4):
        give(path, make_discs().iloc[1], "exclude", "")
        assert written[-1] == path.stat().st_size and len(written) == count == len(overrides.read_overrides(path))


def test_reviewers_who_write_at_once_lose_nothing(path):
    discs = make_discs()

    def review(who: str) -> None:
        for number in range(10):
            give(path, discs.iloc[number], "exclude", "", who)

    threads = [Thread(target=review, args=(who,)) for who in "ABC"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overrides.read_overrides(path).who.value_counts().to_dict() == dict.fromkeys("ABC", 10)


@pytest.mark.slow
def test_damaged_bytes_are_read_or_refused_but_never_a_traceback(path):
    rng, outcomes = np.random.default_rng(0), set()
    for number in range(4):
        overrides.append_verdict(path, make_discs().iloc[number], "normal", "L4-L5", "A", why=WHY[number])
    content = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(300):
        damaged = content.copy()
        places = rng.integers(len(damaged), size=rng.integers(1, 4))
        damaged[places] = rng.choice(np.frombuffer(b'\0\n\r,";\xff\x80 a1', np.uint8), len(places))
        path.write_bytes(damaged.tobytes())
        try:
            table = overrides.read_overrides(path)
            assert set(table.verdict) <= set(overrides.VERDICTS) and len(table) <= 4
            outcomes.add("read")
        except UserError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_table_saved_by_other_programs_is_read(path):
    overrides.append_verdict(path, make_discs().iloc[1], "exclude", "", "A", why="ä, b")
    table, content = overrides.read_overrides(path), path.read_bytes()
    for other in (
        b"\xef\xbb\xbf" + content,
        content.replace(b"\n", b"\r\n"),
        content.rstrip(b"\n"),
        content + b"\n\r\n",
    ):
        path.write_bytes(other)
        pd.testing.assert_frame_equal(overrides.read_overrides(path), table)
        overrides.append_verdict(path, make_discs().iloc[3], "normal", "L4-L5", "A")
        assert overrides.read_overrides(path).verdict.tolist() == ["exclude", "normal"]


GOOD = ["1", "2024-05-31T12:00:00+00:00", "A", "0001", "study", "T2_1/0.ima", "4", "L4-L5", "normal", ""]
DAMAGE = {
    "version": ["2", "", "one"],
    "when": ["", "yesterday", "2024-05-31T12:00:00", "99999"],
    "who": ["", "  "],
    "patient": [""],
    "slab": [""],
    "slices": ["", "-4", "4.0", "four", "²", "9" * 30],
    "level": ["", "L4/5", "L6-S1", "l4-l5", "unknown"],
    "verdict": ["", "Abnormal", "1", "skip", "exclude", "open"],  # the last two go without a level
}


@pytest.mark.parametrize(
    ("column", "value"), [(column, value) for column, values in DAMAGE.items() for value in values]
)
def test_a_damaged_line_is_named(column, value, path):
    bad = list(GOOD)
    bad[overrides.COLUMNS.index(column)] = value
    path.write_text("\n".join(map(",".join, [overrides.COLUMNS, GOOD, bad, GOOD, ""])))
    with pytest.raises(UserError, match=f"Line 3 of {re.escape(str(path))}") as error:
        overrides.read_overrides(path)
    assert trees.is_sentence(error) and "mend" in str(error.value) and len(str(error.value)) < 400
    before = path.read_bytes()
    with pytest.raises(UserError):
        overrides.append_verdict(path, make_discs().iloc[1], "exclude", "", "A")
    assert path.read_bytes() == before
    path.write_text("\n".join(map(",".join, [overrides.COLUMNS, GOOD, GOOD, ""])))
    assert len(overrides.read_overrides(path)) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"patient,verdict\n0001,normal\n",
        ";".join(overrides.COLUMNS).encode() + b"\n",
        b"\0\1\2",
        b"PK\3\4\n\n",
        ",".join([*overrides.COLUMNS, "more"]).encode() + b"\n",
        "\n".join(map(",".join, [overrides.COLUMNS, GOOD[:-1], GOOD, ""])).encode(),
        ",".join(overrides.COLUMNS).encode() + b'\n"1,open quote\n',
        "\n".join(map(",".join, [overrides.COLUMNS, [*GOOD[:-1], '"open quote'], GOOD, ""])).encode(),
        ",".join(overrides.COLUMNS).encode() + b"\n" + b"x" * 200_000 + b"\n",
        b" " * (overrides.MAX_BYTES + 1),
    ],
    ids="columns semicolons binary zip more-columns few-fields quote last-quote long-field huge".split(),
)
def test_a_foreign_file_is_refused_and_left_alone(content, path):
    path.write_bytes(content)
    for action in (
        lambda: overrides.read_overrides(path),
        lambda: overrides.append_verdict(path, make_discs().iloc[1], "normal", "L4-L5", "A"),
    ):
        with pytest.raises(UserError, match=re.escape(str(path))) as error:
            action()
        assert trees.is_sentence(error) and len(str(error.value)) < 500
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("verdict", "level", "who"),
    [("perhaps", "L4-L5", "A"), ("normal", "", "A"), ("normal", "S1-S2", "A"), ("exclude", "L4-L5", "A")]
    + [("normal", "L4-L5", " ")],
)
def test_a_verdict_that_could_not_be_read_is_not_written(verdict, level, who, path):
    with pytest.raises(UserError) as error:
        overrides.append_verdict(path, make_discs().iloc[1], verdict, level, who)
    assert trees.is_sentence(error) and not path.exists()


def test_a_place_that_cannot_be_written_is_named(path):
    path.mkdir()
    for action in (
        lambda: overrides.read_overrides(path),
        lambda: overrides.append_verdict(path, make_discs().iloc[1], "normal", "L4-L5", "A"),
    ):
        with pytest.raises(UserError, match=re.escape(str(path))) as error:
            action()
        assert trees.is_sentence(error)


# --- applying them ---------------------------------------------------------------------------------------------------


def test_each_verdict_changes_its_own_slab_alone(path):
    discs = make_discs().assign(flag="level uncertain: gap between slabs below")
    wanted = {
        row_of(discs, "0000", "L5-S1"): ("abnormal", "L3-L4", ""),
        row_of(discs, "0000", "L4-L5"): ("normal", "L2-L3", ""),
        row_of(discs, "0001", "L5-S1"): ("as noted", "L5-S1", ""),
        row_of(discs, "0001", "L3-L4"): ("exclude", "L3-L4", overrides.EXCLUDED),
    }
    for row, (verdict, level, _) in wanted.items():
        overrides.append_verdict(path, discs.loc[row], verdict, level if verdict in overrides.KEPT else "", "A")
    judged, unmatched = overrides.apply_overrides(discs, overrides.read_overrides(path))
    assert unmatched.empty
    for row in discs.index:
        verdict, level, flag = wanted.get(row, ("", discs.level[row], discs.flag[row]))
        assert judged.loc[row, ["verdict", "level", "flag"]].tolist() == [verdict, level, flag]
        assert judged.loc[row, ["found_level", "found_flag"]].tolist() == discs.loc[row, ["level", "flag"]].tolist()
    labels = overrides.judged_labels(judged)
    assert labels == {path: int(row == 1) for row in (1, 3) for path in discs.paths[row]}


@pytest.mark.slow
def test_the_last_verdict_counts_and_may_be_withdrawn(path):
    discs, rng = make_discs(2, 3), np.random.default_rng(1)
    rows, last = discs.index[discs.weighting == "T2"], {}
    for _ in range(50):
        row, verdict = rng.choice(rows), str(rng.choice(overrides.VERDICTS))
        level = discs.level[row] if verdict in overrides.KEPT else ""
        overrides.append_verdict(path, discs.loc[row], verdict, level, "A")
        last[row] = "" if verdict == overrides.OPEN else verdict
        judged, _ = overrides.apply_overrides(discs, overrides.read_overrides(path))
        assert judged.verdict[rows].to_dict() == {row: last.get(row, "") for row in rows}
    assert "" in last.values() and len(overrides.read_overrides(path)) == 50


def test_a_slab_that_changed_or_left_is_told_of(path):
    discs = make_discs()
    for row in (1, 3, 5):
        overrides.append_verdict(path, discs.loc[row], "normal", discs.level[row], "A")
    verdicts, changed = overrides.read_overrides(path), discs.drop(index=3)
    changed.at[1, "paths"], changed.loc[1, "slices"] = changed.paths[1][:3], 3
    judged, unmatched = overrides.apply_overrides(changed, verdicts)
    assert judged.index[judged.verdict != ""].tolist() == [5]
    assert unmatched.slab.tolist() == ["T2_0/0.ima", "T2_1/0.ima"]
    overrides.append_verdict(path, changed.loc[1], "exclude", "", "A")  # given again: the old one is past
    judged, unmatched = overrides.apply_overrides(changed, overrides.read_overrides(path))
    assert judged.verdict[[1, 5]].tolist() == ["exclude", "normal"] and unmatched.slab.tolist() == ["T2_1/0.ima"]


def test_verdicts_outlive_a_move_of_the_archive(path):
    discs = make_discs()
    overrides.append_verdict(path, discs.loc[1], "normal", "L5-S1", "A")
    moved = discs.assign(paths=discs.paths.map(lambda paths: tuple(p.removeprefix("root/") for p in paths)))
    judged, unmatched = overrides.apply_overrides(moved, overrides.read_overrides(path))
    assert judged.verdict[1] == "normal" and unmatched.empty


def test_two_slabs_called_by_one_level_are_not_both_used(path):
    discs = make_discs()
    row, other = row_of(discs, "0001", "L5-S1"), row_of(discs, "0001", "L4-L5")
    overrides.append_verdict(path, discs.loc[row], "normal", "L4-L5", "A")
    judged, _ = overrides.apply_overrides(discs, overrides.read_overrides(path))
    assert judged.index[judged.flag != ""].tolist() == sorted([row, other])
    overrides.append_verdict(path, discs.loc[other], "exclude", "", "A")
    judged, _ = overrides.apply_overrides(discs, overrides.read_overrides(path))
    assert judged.flag[row] == "" and judged.flag[other] == overrides.EXCLUDED


# --- tables that went through a spreadsheet --------------------------------------------------------------------------


def renamed(discs, patients, study="study") -> pd.DataFrame:
    names = dict(zip(sorted(set(discs.patient)), patients, strict=True))
    return discs.assign(patient=discs.patient.map(names), study=study)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("patients", "study"),
    [
        (["0001", "0002", "0010"], "study"),
        (["0037", "0370", "3700"], "study"),
        (["00001", "00012", "00123"], "study"),
        (["007", "070", "700"], "study"),
        (["0001", "0002", "0003"], "0004"),
        (["0001", "0002", "0003"], "000240000"),
        (["01", "1A", "A01"], "study"),
        (["0000", "0001", "0002"], "study"),
        (["0001", "P0001", "0002"], "study"),
        (["0575", "0576", "0099"], "007"),
    ],
)
@pytest.mark.parametrize("end", ["", ".0"])
def test_lost_zeros_change_no_verdict(patients, study, end, path):
    discs = renamed(make_discs(), patients, study)
    for row, verdict in zip((1, 9, 17), ("abnormal", "normal", "exclude"), strict=True):
        give(path, discs.loc[row], verdict, discs.level[row])
    verdicts = overrides.read_overrides(path)
    lost = verdicts.copy()
    for name in ("patient", "study"):
        lost[name] = [f"{int(value)}{end}" if value.isdigit() else value for value in verdicts[name]]
    wanted, _ = overrides.apply_overrides(discs, verdicts)
    judged, unmatched = overrides.apply_overrides(discs, lost)
    pd.testing.assert_frame_equal(judged, wanted)
    assert unmatched.empty and (judged.verdict != "").sum() == 3


def test_a_later_verdict_replaces_one_that_lost_its_zeros(path):
    discs = renamed(make_discs(), ["0001", "0002", "0003"])
    give(path, discs.loc[1], "abnormal", "L5-S1")
    path.write_text(path.read_text().replace(",0001,", ",1,"))
    give(path, discs.loc[1], "normal", "L5-S1")
    judged, unmatched = overrides.apply_overrides(discs, overrides.read_overrides(path))
    assert judged.verdict[1] == "normal" and unmatched.empty


def test_a_number_that_may_mean_two_patients_applies_to_neither(path):
    """An exact name always counts."""
    discs = renamed(make_discs(), ["0001", "001", "0002"])
    give(path, discs.loc[1], "abnormal", "L5-S1")
    text = path.read_text()
    path.write_text(text.replace(",0001,", ",1,"))
    judged, unmatched = overrides.apply_overrides(discs, overrides.read_overrides(path))
    assert (judged.verdict == "").all() and unmatched.patient.tolist() == ["1"]
    path.write_text(text)
    judged, unmatched = overrides.apply_overrides(discs, overrides.read_overrides(path))
    assert judged.index[judged.verdict != ""].tolist() == [1] and unmatched.empty


@pytest.mark.parametrize("change", [
    lambda text: text.replace("\n", "\r\n"),
    lambda text: "\ufeff" + text,
    lambda text: text + ",,,,,,,,,\n",
    lambda text: text.rstrip("\n"),
    lambda text: "\n".join(",".join(f'"{field}"' for field in line.split(",")) for line in text.splitlines()),
])  # fmt: skip
def test_what_spreadsheets_do_to_a_table_is_read(change, path):
    give(path, make_discs().iloc[1], "abnormal", "L5-S1")
    table = overrides.read_overrides(path)
    path.write_bytes(change(path.read_text()).encode())
    pd.testing.assert_frame_equal(overrides.read_overrides(path), table)


@pytest.mark.parametrize("change", [
    lambda text: text.replace(",", ";").encode(),
    lambda text: text.replace(",", "\t").encode("utf-16"),
    lambda text: re.sub(r"20\d\d-\d\d-\d\dT[0-9:+]+", "31/05/2024 12:00", text).encode(),
    lambda text: text.replace(",4,L5-S1", ",4.00E+00,L5-S1").encode(),
    lambda text: text.replace("L5-S1", "05-Jan").encode(),
    lambda text: ("Table 1\n" + text).encode(),
])  # fmt: skip
def test_what_spreadsheets_destroy_is_said(change, path):
    give(path, make_discs().iloc[1], "abnormal", "L5-S1")
    path.write_bytes(change(path.read_text()))
    with pytest.raises(UserError, match=re.escape(str(path))) as error:
        overrides.read_overrides(path)
    assert trees.is_sentence(error)


# --- in the build ----------------------------------------------------------------------------------------------------

NOTES = {
    "0001": "Disc bulge at L4-L5.",
    "0002": "No change since the previous examination.",
    "0003": "",
    "0004": "Normal lumbar spine study.",
    **dict.fromkeys(("0005", "0006"), "Disc bulges at L4-L5 and L5-S1."),  # so that the splits have enough
}
SETTINGS = PROFILE.replace(data={"test_per_class": 1, "validation_per_class": 1})


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Patients with three discs each; in 0004 a gap makes the uppermost disc's level uncertain."""
    folder = tmp_path_factory.mktemp("archive")
    for patient in NOTES:
        for level, height in enumerate((0, 34, 68 + 50 * (patient == "0004"))):
            place = folder / "01_MRI_Data" / patient / trees.STUDY / f"T2_{level}"
            trees.write_slab(place, (0, 0, height), 5, seed=10 * int(patient) + level, size=(32, 32))
    write_notes(folder / dataset.NOTES_NAME, [(int(patient), note) for patient, note in NOTES.items()])
    return folder


@pytest.mark.slow
def test_the_build_applies_verdicts_last_and_counts_them(archive, tmp_path, capsys):
    here, folder = tmp_path / "archive", tmp_path / "01"
    shutil.copytree(archive, here)
    (here / dataset.NOTES_NAME).rename(tmp_path / dataset.NOTES_NAME)  # beside the archive

    def build():
        data = dataset.build_dataset(here, folder, SETTINGS, 0)
        judged = data.samples[data.samples.patient < "0005"]
        aside = files.read_table(folder / "set_aside.csv", dtype=str)
        reasons = {(row.patient, row.level): row.reason for row in aside.itertuples()}
        return data, {(row.patient, row.level): row.label for row in judged.itertuples()}, reasons

    data, labels, aside = build()
    assert labels == {
        ("0001", "L5-S1"): 0, ("0001", "L4-L5"): 1, ("0001", "L3-L4"): 0, ("0004", "L5-S1"): 0, ("0004", "L4-L5"): 0
    }  # fmt: skip
    assert data.info["verdicts"] == {"applied": 0, "without a slab": []} and len(aside) == 7
    found, written = dataset.load_discs(folder), tmp_path / overrides.NAME
    assert found.groupby("patient").size().to_dict() == dict.fromkeys(NOTES, 3)
    assert found.flag[row_of(found, "0004", "L3-L4")].startswith("level uncertain")
    table = pd.read_csv(folder / "discs.csv", dtype=str, keep_default_na=False)
    noted = table.set_index(["patient", "level"])
    assert noted.note_label[["0001", "0004"]].tolist() == ["False", "True", "False"] + ["False"] * 3
    assert noted.note_reason["0002", "L4-L5"].startswith("note undecided")
    assert noted.note_reason["0003", "L4-L5"] == "no note for this patient"

    def give(patient, level, verdict, new=""):
        overrides.append_verdict(written, found.loc[row_of(found, patient, level)], verdict, new, "Dr. Reviewer")

    give("0001", "L4-L5", "normal", "L4-L5")  # the note says otherwise
    give("0002", "L5-S1", "abnormal", "L5-S1")  # the note leaves it open
    give("0003", "L4-L5", "abnormal", "L3-L4")  # no note; the level moves, where another slab is
    give("0003", "L3-L4", "normal", "L2-L3")
    give("0004", "L3-L4", "as noted", "L2-L3")  # the flag goes
    give("0004", "L5-S1", "exclude")
    capsys.readouterr()
    data, labels, aside = build()
    assert labels == {
        ("0001", "L5-S1"): 0, ("0001", "L4-L5"): 0, ("0001", "L3-L4"): 0, ("0002", "L5-S1"): 1, ("0003", "L3-L4"): 1,
        ("0003", "L2-L3"): 0, ("0004", "L4-L5"): 0, ("0004", "L2-L3"): 0,
    }  # fmt: skip
    assert data.info["verdicts"] == {"applied": 6, "without a slab": []}
    assert aside["0004", "L5-S1"] == overrides.EXCLUDED and data.info["set_aside"][overrides.EXCLUDED] == 1
    assert "All 6 verdicts" in capsys.readouterr().out
    pd.testing.assert_frame_equal(dataset.load_discs(folder), found)
    slabs = card.flow(data, folder).query("step == 'T2 slabs'").set_index("outcome").number
    assert "no reason recorded" not in slabs and slabs[overrides.EXCLUDED] == 1 and slabs.sum() == 18
    results = [file for file in folder.iterdir() if b"Reviewer" in file.read_bytes()]
    assert results == []  # who judged stays beside the notes

    shutil.rmtree(here / "01_MRI_Data" / "0002")
    data, labels, _ = build()
    assert data.info["verdicts"] == {
        "applied": 5,
        "without a slab": [f"0002 {trees.STUDY} T2_0/T2_TSE_TRA__0001_001.ima"],
    }
    assert "1 match no slab" in capsys.readouterr().out and ("0002", "L5-S1") not in labels

    content = written.read_bytes()
    written.write_bytes(content.replace(b"exclude", b"explode"))
    with pytest.raises(UserError, match="Line 7 of"):
        build()
    written.write_bytes(content)
    assert build()[1] == labels


@pytest.mark.slow
@pytest.mark.parametrize("where", ["inside", "beside", "phantom"])
def test_a_new_verdict_makes_the_first_notebook_stale(where, tmp_path):
    archive = tmp_path / "archive"
    (archive / "01_MRI_Data").mkdir(parents=True)
    notes = (tmp_path if where == "beside" else archive) / dataset.NOTES_NAME
    write_notes(notes, [(1, "Normal.")])
    cells = [nbformat.v4.new_code_cell("from lhdlib.data import overrides")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "01_first.ipynb")
    space = workspace.Workspace(SETTINGS, archive, 0, tmp_path / "results", tmp_path / "figures")
    given = "" if where == "phantom" else str(archive)
    plan = stale.Plan(space, given, notebooks=tmp_path, upstream={"01": ()})

    def run():
        with stale.recorded(plan, "01"):
            files.write_json(space.part("01") / "dataset.json", {})
        assert stale.reasons(plan, "01") == []

    run()
    for _ in range(2):
        overrides.append_verdict(notes.with_name(overrides.NAME), make_discs().loc[1], "exclude", "", "A")
        assert f"the verdicts in {notes.with_name(overrides.NAME)} changed" in stale.reasons(plan, "01")
        run()
    notes.with_name(overrides.NAME).unlink()
    assert any("verdicts" in reason for reason in stale.reasons(plan, "01"))
