"""A reviewer's verdicts: a table beside the radiologists' notes, which only grows and which the build applies last.

A row is one verdict about one slab of T2 slices, and the last row about a slab counts: correcting a verdict is one
more row. The table is replaced as a whole, so a crash costs at most the row that was being added.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
import pandas as pd

from lhdlib import files
from lhdlib.data.discs import LEVELS
from lhdlib.errors import UserError

NAME = "overrides.csv"
VERSION = "1"
KEY = ["patient", "study", "slab"]  # names a slab
COLUMNS = ["version", "when", "who", *KEY, "slices", "level", "verdict", "why"]
LABELS = {"abnormal": 1, "normal": 0}
EARLIER = {"herniated": "abnormal"}  # words of earlier tables
AS_NOTED, EXCLUDE, OPEN = "as noted", "exclude", "open"  # the note's label; no sample; an earlier verdict is withdrawn
KEPT = (*LABELS, AS_NOTED)  # verdicts that state the slab's level
VERDICTS = (*KEPT, EXCLUDE, OPEN)
EXCLUDED = "excluded in review"
SAME_LEVEL = "level uncertain: after the review two slabs of the study have it"
MAX_BYTES = 16 * 2**20  # of the table; a verdict has 150


def slab_key(paths: Sequence[str]) -> str:
    """Name of a slab within its study: series folder and file of its first slice, wherever the archive lies."""
    return "/".join(paths[0].split("/")[-2:])


def read_overrides(path: Path) -> pd.DataFrame:
    """All verdicts ever given, oldest first; none when there is no file.

    Returns
    -------
    pd.DataFrame
        `COLUMNS`, all text but ``slices``, the number of slices that the slab had.

    Raises
    ------
    UserError
        For a file that is no table of verdicts, or a line in it that is none.
    """
    return pd.DataFrame(_rows(path, _content(path)), columns=COLUMNS).astype(
        dict.fromkeys(COLUMNS, object) | {"slices": int}
    )


def append_verdict(path: Path, disc: Any, verdict: str, level: str, who: str, *, why: str = "") -> None:
    """Add a verdict to the table; it is on the disk when this returns.

    Parameters
    ----------
    disc : row of `discs.group_discs`
        The slab.
    verdict : str
        One of `VERDICTS`.
    level : str
        The slab's level, for the verdicts in `KEPT`; empty for the others.
    who, why : str
        The reviewer, and an optional reason.

    Raises
    ------
    UserError
        For an unknown verdict or level, a missing reviewer, a damaged table, or one that cannot be written.
    """
    when = datetime.now(UTC).isoformat(timespec="seconds")
    slab = [disc.patient, disc.study, slab_key(disc.paths), str(len(disc.paths))]
    row = [VERSION, when, " ".join(who.split()), *slab, level, verdict, " ".join(why.split())]
    problem = _problem(row)
    if problem:
        raise UserError(f"The verdict was not kept because {problem}.")
    try:
        with filelock.FileLock(path.with_name(f".{path.name}.lock")), files.replacing(path) as temporary:
            content = _content(path)
            _rows(path, content)  # a damaged table is refused, not written again
            lines = _csv_lines(*([] if content else [COLUMNS]), row)
            with temporary.open("wb") as file:
                file.write(content + b"\n" * (not content.endswith(b"\n") and content != b"") + lines)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"The verdict was not kept because {path} cannot be written ({error.strerror}): allow writing there."
        ) from error


def _csv_lines(*rows: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _content(path: Path) -> bytes:
    """Bytes of the table; none when there is no file."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): allow reading it.") from error


def _rows(path: Path, content: bytes) -> list[list[str]]:
    """Rows of the table without its head."""
    mend = "restore an earlier version of it, or move it away to begin a new one"
    if len(content) > MAX_BYTES:
        raise UserError(f"{path} has more than {MAX_BYTES >> 20} MiB, too many for a table of verdicts: {mend}.")
    lines = csv.reader(io.StringIO(content.decode("utf-8-sig", "replace"), newline=""), strict=True)
    rows: list[list[str]] = []
    try:
        if next(lines, COLUMNS) != COLUMNS:
            raise UserError(f"{path} is no table of verdicts, for its first line is not {','.join(COLUMNS)!r}: {mend}.")
        for row in lines:
            row[-2:-1] = [EARLIER.get(verdict, verdict) for verdict in row[-2:-1]]
            problem = _problem(row) if any(row) else ""
            if problem:
                raise UserError(f"Line {lines.line_num} of {path} is no verdict because {problem}: mend or delete it.")
            rows += [row] * any(row)  # spreadsheets leave rows of commas
    except csv.Error as error:
        raise UserError(f"Line {lines.line_num} of {path} cannot be read ({error}): mend or delete it.") from error
    return rows


def _problem(row: list[str]) -> str:
    """The fault of a row; empty when it is a verdict."""
    if len(row) != len(COLUMNS):
        return f"it has {len(row)} fields instead of {len(COLUMNS)}"
    fields = dict(zip(COLUMNS, row, strict=True))
    if fields["version"] != VERSION:
        return f"its version {_shown(fields['version'])} is not {VERSION}"
    try:
        zoned = datetime.fromisoformat(fields["when"]).tzinfo is not None
    except ValueError:
        zoned = False
    if not zoned:
        return f"{_shown(fields['when'])} is no time with a zone, such as 2024-05-31T12:00:00+00:00"
    for name in ("who", "patient", "slab"):
        if not fields[name].strip():
            return f"the field {name!r} is empty"
    if not (fields["slices"].isascii() and fields["slices"].isdigit() and len(fields["slices"]) < 6):
        return f"{_shown(fields['slices'])} is no number of slices"
    if fields["verdict"] not in VERDICTS:
        return f"{_shown(fields['verdict'])} is none of the verdicts {', '.join(VERDICTS)}"
    if fields["verdict"] in KEPT and fields["level"] not in LEVELS:
        return f"{_shown(fields['level'])} is none of the levels {', '.join(LEVELS)}"
    if fields["verdict"] not in KEPT and fields["level"]:
        return f"the verdict {fields['verdict']!r} goes without a level"
    return ""


def _shown(text: str) -> str:
    return repr(text[:40])


def apply_overrides(found: pd.DataFrame, verdicts: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Discs as the last verdict about each has them.

    Parameters
    ----------
    found
        The table of `discs.group_discs`.
    verdicts
        The table of `read_overrides`.

    Returns
    -------
    judged : pd.DataFrame
        `found` with ``level`` and ``flag`` as the verdicts say, ``found_level`` and ``found_flag`` as they were, and
        ``verdict``, empty without one. Slabs of one study that end up with one level keep a flag.
    unmatched : pd.DataFrame
        The verdicts in force whose slab is not there, or has another number of slices than the reviewer saw.
    """
    last = _with_zeros(verdicts, found).drop_duplicates(KEY, keep="last")
    last = last[last.verdict != OPEN]
    place = [*KEY, "slices"]
    slabs = found.assign(slab=found.paths.map(slab_key))[found.weighting == "T2"]  # no sample is made of T1
    given = last.set_index(place)[["level", "verdict"]].reindex(pd.MultiIndex.from_frame(slabs[place]))
    given = given.set_index(slabs.index).reindex(found.index).fillna("")
    judged = found.assign(found_level=found.level, found_flag=found.flag, verdict=given.verdict)
    kept = judged.verdict.isin(KEPT)
    judged["level"] = found.level.mask(kept, given.level)
    judged["flag"] = found.flag.mask(kept, "").mask(judged.verdict == EXCLUDE, EXCLUDED)
    usable = judged[(judged.weighting == "T2") & (judged.flag == "")]
    judged.loc[usable.index[usable.duplicated(["patient", "study", "level"], keep=False)], "flag"] = SAME_LEVEL
    here = pd.MultiIndex.from_frame(last[place]).isin(pd.MultiIndex.from_frame(slabs[place]))
    return judged, last[~here]


def _with_zeros(verdicts: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Verdicts under the names of patients and studies here: a spreadsheet makes "1" of "0001".

    A name that is not here, but means the number of one patient (or study of the patient), is taken for that one;
    where it could mean several it stays, and its verdict matches no slab.
    """
    known = found[["patient", "study"]].drop_duplicates()
    patients = _by_number(known.patient)
    verdicts = verdicts.assign(patient=verdicts.patient.map(lambda name: _meant(name, patients)))
    studies = {patient: _by_number(group.study) for patient, group in known.groupby("patient")}
    pairs = zip(verdicts.patient, verdicts.study, strict=True)
    return verdicts.assign(study=[_meant(study, studies.get(patient, {})) for patient, study in pairs])


def _by_number(names: pd.Series) -> dict[str, set[str]]:
    """Names by themselves and by what a spreadsheet makes of them."""
    found: dict[str, set[str]] = {}
    for name in set(names):
        found.setdefault(_number(name), set()).add(name)
    return found


def _number(name: str) -> str:
    match = re.fullmatch(r"0*([0-9]+)(?:\.0+)?", name.strip())
    return match[1] if match else name


def _meant(name: str, known: Mapping[str, set[str]]) -> str:
    same = known.get(_number(name), set())
    return next(iter(same)) if len(same) == 1 and name not in same else name


def judged_labels(judged: pd.DataFrame) -> dict[str, int]:
    """Label (0 or 1) of every slice whose disc a reviewer called normal or abnormal, by path."""
    decided: Iterable = judged[judged.verdict.isin(list(LABELS))].itertuples()
    return {path: LABELS[disc.verdict] for disc in decided for path in disc.paths}
