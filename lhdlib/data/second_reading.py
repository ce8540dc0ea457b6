"""Other labels of the same patients, where the user has them, and how far they agree with the notes.

They lie in a folder beside the workbook: ``second_reading/boxes/`` (YOLO text files) and ``second_reading/grades.csv``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lhdlib import evaluate
from lhdlib.data import dataset, labels, own_labels
from lhdlib.data.grammar.levels import LUMBAR_LEVELS
from lhdlib.errors import UserError
from lhdlib.evaluate import Estimate
from lhdlib.files import read_table
from lhdlib.phantom import truth

FOLDER, BOXES, GRADES, CLASSES = "second_reading", "boxes", "grades.csv", "classes.txt"
BULGE = re.compile(r"bulg|protru|herni|extru|abnormal", re.IGNORECASE)
NORMAL = re.compile(r"(?<!ab)normal|healthy|\bno\b|\bnon\b", re.IGNORECASE)
DISCS = {f"d{number}": level for number, level in enumerate(LUMBAR_LEVELS, 1)}  # as the archive's label masks count
ROMAN = {name: number for number, name in enumerate(("i", "ii", "iii", "iv", "v"), 1)}
MAX_BYTES, MAX_FILES = 2**16, 100_000  # of a file of boxes, and of such files
LOWEST = LUMBAR_LEVELS[-3:]
GROUPS = {**{level: (level,) for level in LUMBAR_LEVELS}, "three lowest": LOWEST, "all five": LUMBAR_LEVELS}
COLUMNS = ["reading", "discs of", "discs", "patients", "abnormal by the notes", "by the reading"]
MEASURES = ("agreement", "kappa", "AUC")


class Reading(NamedTuple):
    """A second reading of some discs."""

    discs: pd.DataFrame  #: patient, level, and value: True or False, or a grade
    unused: list[str]  #: a sentence per file that tells of no disc


def folder_of(archive: Path) -> Path:
    """Where second readings lie: beside the workbook, or the table of one's own labels."""
    return dataset.find_labels(archive).with_name(FOLDER)


def read_readings(archive: Path) -> dict[str, Reading]:
    """Second readings that lie beside an archive's labels, by name; of a phantom, its second reader's judgements.

    Raises
    ------
    UserError
        For files that are no such reading.
    """
    folder, found = folder_of(archive), {}
    if (folder / BOXES).is_dir():
        found["bulge boxes"] = read_boxes(folder / BOXES)
    if (folder / GRADES).is_file():
        found["Pfirrmann grade"] = read_grades(folder / GRADES)
    if place := truth.beside(archive):
        known = truth.load_truth(place)[0]
        discs = known[known.level.isin(LUMBAR_LEVELS)].assign(value=known.second_reader == 1)
        found["the phantom's second reader"] = Reading(discs[["patient", "level", "value"]], [])
    return found


# Boxes


def read_boxes(folder: Path) -> Reading:
    """Discs with and without a bulge, from boxes on sagittal images.

    Files are named by the patient (``0037.txt``, ``0037_7.txt``); a disc bulges if it does on any image. Where classes
    name levels, a box is that disc's; without a class for normal discs, those without a box are normal. Where they do
    not, an image must have five boxes, from L1-L2 downwards.

    Raises
    ------
    UserError
        For missing or unclear classes, or a file that holds no boxes.
    """
    kinds = _classes(folder / CLASSES)
    levels_told = all(level for level, _ in kinds)
    complete = levels_told and all(bulge for _, bulge in kinds)  # only bulges have boxes
    seen: dict[tuple[str, str], bool] = {}
    unused = []
    files = sorted(path for path in folder.rglob("*.txt") if path.name != CLASSES)
    if len(files) > MAX_FILES:
        raise UserError(f"{folder} has more than {MAX_FILES:,} files of boxes: keep those of these patients.")
    for path in files:
        patient, boxes = re.split(r"[_\s.]", path.stem)[0], _boxes(path, len(kinds))
        told = [(kinds[kind][0], kinds[kind][1]) for kind, _ in sorted(boxes, key=lambda box: box[1])]
        if not levels_told and len(told) != len(LUMBAR_LEVELS):
            unused.append(f"{path.name}: {len(told)} boxes instead of {len(LUMBAR_LEVELS)}, so their levels are open")
            continue
        if not levels_told:
            told = [(level, bulge) for level, (_, bulge) in zip(LUMBAR_LEVELS, told, strict=True)]
        for level, bulge in [*told, *((level, False) for level in LUMBAR_LEVELS if complete)]:
            seen[patient, level] = bulge or seen.get((patient, level), False)
    rows = [(*place, bulge) for place, bulge in seen.items()]
    return Reading(pd.DataFrame(rows, columns=["patient", "level", "value"]), unused)


def _classes(path: Path) -> list[tuple[str, bool]]:
    """Level (empty where the name has none) and whether it bulges, of each class in its order."""
    try:
        names = [name.strip() for name in path.read_text(encoding="utf-8").splitlines() if name.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"There is no readable {path}: write the classes' names into it, one a line, in order."
        ) from error
    kinds = []
    for name in names:
        level = _level(name)
        normal, bulge = bool(NORMAL.search(name)), bool(BULGE.search(name))
        if not (level or normal or bulge):
            raise UserError(f"{path} has the class {name[:40]!r}, neither bulge nor normal nor a level: rename it.")
        kinds.append((level, not normal))
    if len({bool(level) for level, _ in kinds}) != 1:
        raise UserError(f"{path} must name a level in all of its classes or in none: rename them.")
    return kinds


def _level(text: str) -> str:
    """The one lumbar level that a text names; empty where it names none."""
    compact = re.sub(r"[\s_/–-]", "", text.lower())
    for level in LUMBAR_LEVELS:
        first, second = level.lower().split("-")
        if re.search(rf"{first}{second[0]}?{second[1]}(?!\d)", compact):
            return level
    return next((level for disc, level in DISCS.items() if re.search(rf"(?<![a-z0-9]){disc}(?!\d)", text.lower())), "")


def _boxes(path: Path, classes: int) -> list[tuple[int, float]]:
    """Class and height (of the centre, 0 at the top) of each box in a YOLO text file."""
    try:
        with path.open("rb") as file:
            lines = file.read(MAX_BYTES).decode("ascii").split("\n")
        rows = [[float(number) for number in line.split()] for line in lines if line.strip()]
        for row in rows:
            if len(row) not in (5, 6) or row[0] not in range(classes) or not all(0 <= n <= 1 for n in row[1:]):
                raise ValueError
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} holds no boxes: a line is a class of {CLASSES}, counted from 0, and x, y, width and height from 0 "
            "to 1, separated by spaces."
        ) from error
    return [(int(row[0]), row[2]) for row in rows]


# Grades


def read_grades(path: Path) -> Reading:
    """Pfirrmann grades, 1 to 5, from a table with ``patient``, ``level`` (or ``disc``) and ``grade``.

    A disc is a level, or D1 to D5 from L1-L2 downwards, as the archive's masks name them.

    Raises
    ------
    UserError
        For another table, or a row that is no grade.
    """
    table = read_table(path, dtype=str, keep_default_na=False)
    table.columns = [str(name).strip().lower() for name in table.columns]
    table = table.rename(columns={"disc": "level", "pfirrmann": "grade"})
    if not {"patient", "level", "grade"} <= set(table.columns) or table.columns.duplicated().any():
        raise UserError(f"{path} must have the columns patient, level (or disc) and grade, once each: rename them.")
    rows: dict[tuple[str, str], float] = {}
    for number, row in enumerate(table.to_dict("records"), 2):
        patient, level, said = row["patient"].strip(), _level(row["level"]), row["grade"].strip().lower()
        grade = float(ROMAN.get(said, said if re.fullmatch(r"[1-5](\.0)?", said) else 0))
        fault = "names no patient" if not patient else "names no lumbar disc" if not level else "has no grade of 1 to 5"
        if not (patient and level and grade):
            raise UserError(f"Row {number} of {path} {fault}: mend or delete it.")
        if rows.setdefault((patient, level), grade) != grade:
            raise UserError(f"Row {number} of {path} grades a disc otherwise than a row above: keep one of them.")
    return Reading(pd.DataFrame([(*k, v) for k, v in rows.items()], columns=["patient", "level", "value"]), [])


# Agreement


def agreement(archive: Path, readings: Mapping[str, Reading]) -> pd.DataFrame:
    """How far second readings agree with what the notes decide, by level; intervals resample patients.

    Returns
    -------
    pd.DataFrame
        `COLUMNS`, and for each of `MEASURES` an `evaluate.Estimate`, or None where it is not defined: agreement and
        Cohen's kappa of two judgements, the AUC of a grade.
    """
    if not readings:
        return pd.DataFrame(columns=[*COLUMNS, *MEASURES])
    source = labels.read_source(dataset.find_labels(archive))
    rows: list[tuple] = []
    for name, reading in readings.items():  # each by itself, since one may write 0037 and another 37
        noted = labels.note_labels(reading.discs[["patient", "level"]], source)
        rows += _rows(name, reading.discs.assign(label=noted.label)[(noted.reason == "") & noted.label.notna()])
    return pd.DataFrame(rows, columns=[*COLUMNS, *MEASURES])


def _rows(name: str, discs: pd.DataFrame) -> Iterator[tuple]:
    graded = discs.value.map(type).eq(float).any()
    for group, levels in GROUPS.items():
        own = discs[discs.level.isin(levels)]
        if own.empty:
            continue
        one, value, patients = own.label.to_numpy(bool), own.value.to_numpy(float), own.patient.to_numpy(str)
        both = 0 < one.sum() < len(one)
        counts = (name, group, len(own), own.patient.nunique(), float(one.mean()))
        if graded:
            auc = evaluate.by_patient(one, value[None], patients)["AUC"] if both else None
            yield (*counts, None, None, None, auc)
        else:
            yield (*counts, float(value.mean()), *evaluate.agreement(one, value > 0.5, patients), None)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `agreement` for a reader: shares and estimates as text, with their intervals."""
    texts = {name: table[name].map(_estimate) for name in MEASURES}
    shares = {name: table[name].map(lambda share: "–" if pd.isna(share) else f"{share:.1%}") for name in COLUMNS[4:]}
    return table.assign(**shares, **texts)


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None or not np.isfinite(estimate.value):
        return "–"
    if not np.isfinite(estimate.low):
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def caption(archive: Path, readings: Mapping[str, Reading]) -> str:
    """Caption for the table of `agreement`."""
    whose = f"the rows of {own_labels.NAME}" if own_labels.is_own(dataset.find_labels(archive)) else "the notes' labels"
    return (
        f"How far {_listed(readings)} and {whose} agree, by level: share of equal judgements and Cohen's kappa, or the "
        "AUC of a grade, with 95 % intervals over patients. Discs that the notes leave open are left out."
    )


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)
