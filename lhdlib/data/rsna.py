"""The layout of RSNA 2024 Lumbar Spine Degenerative Classification, and its gradings as ``labels.csv``.

``lhdlib labels rsna DIR`` converts. Its terms allow nobody to pass images or gradings on: they stay where they are.
"""

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lhdlib import files
from lhdlib.data import own_labels
from lhdlib.data.grammar.levels import LUMBAR_LEVELS
from lhdlib.errors import UserError

IMAGES, SERIES, GRADINGS = "train_images", "train_series_descriptions.csv", "train.csv"
#: Short name -> the finding in words, and how its columns begin.
FINDINGS = {
    "canal": ("spinal canal stenosis", ("spinal_canal_stenosis",)),
    "subarticular": ("subarticular stenosis", ("left_subarticular_stenosis", "right_subarticular_stenosis")),
    "foraminal": (
        "neural foraminal narrowing",
        ("left_neural_foraminal_narrowing", "right_neural_foraminal_narrowing"),
    ),
}
GRADES = {"Normal/Mild": False, "Moderate": True, "Severe": True, "": None}
ABOVE = 3  # folders above the one that is read, in which the table of series may lie
MAX_BYTES = 64 * 2**20  # of a table; the collection's have under 1 MB


def image_folder(folder: Path) -> Path:
    """The folder whose folders are the studies: ``train_images`` of the collection; any other folder is itself."""
    images = folder / IMAGES
    return images if (folder / SERIES).is_file() and images.is_dir() else folder


def tables_folder(archive: Path) -> Path | None:
    """Where the collection's tables lie: in a folder of images or above it; None for any other archive."""
    here = Path(archive).resolve()
    return next((place for place in (here, *here.parents[:ABOVE]) if (place / SERIES).is_file()), None)


def series_descriptions(archive: Path) -> dict[str, str]:
    """Description of each series by ``study/series``, the names of its folders; nothing for any other archive.

    Raises
    ------
    UserError
        When the table cannot be read, or describes a series in two ways.
    """
    folder, known = tables_folder(archive), dict[str, str]()
    if folder is None:
        return known
    table = _read(folder / SERIES, ["study_id", "series_id", "series_description"])
    for series, text in zip(table.study_id + "/" + table.series_id, table.series_description, strict=True):
        if known.setdefault(series, text) != text:
            both = f"{known[series][:40]!r} and {text[:40]!r}"
            raise UserError(f"{folder / SERIES} describes series {series} as {both}: keep the row that is right.")
    return known


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of a table, all text."""
    mend = "download it again"
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
        table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"There is no {path}: name the folder that holds the collection's {path.name}.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a table ({str(error).splitlines()[0]}): {mend}.") from error
    missing = [name for name in columns if name not in table]
    if missing:
        raise UserError(f"{path} lacks the column {missing[0]!r}: {mend}.")
    return table[list(columns)].apply(lambda column: column.str.strip())


def convert(folder: Path, positive: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Gradings of the collection as rows of ``labels.csv``.

    A disc is abnormal where a finding that counts is moderate or severe, else undecided (an empty label) where one is
    not stated, else normal.

    Parameters
    ----------
    positive
        Findings that count, of `FINDINGS`.

    Returns
    -------
    table : pd.DataFrame
        ``patient, level, label, kind, reader``, all text.
    empty : list of str
        A line for each row with values that are not stated.

    Raises
    ------
    UserError
        For other gradings.
    """
    path = folder / GRADINGS
    starts = [start for name in positive for start in FINDINGS[name][1]]
    ends = {level: level.lower().replace("-", "_") for level in LUMBAR_LEVELS}
    gradings = _read(path, ["study_id", *(f"{start}_{end}" for end in ends.values() for start in starts)])
    reader = f"RSNA 2024: moderate or severe {_named(positive)}, which is not herniation"
    rows, lines = [], []
    for number, row in enumerate(gradings.to_dict("records"), 2):
        empty, undecided = [], []
        for level, end in ends.items():
            given = {start: row[f"{start}_{end}"] for start in starts}
            odd = [start for start, value in given.items() if value not in GRADES]
            if odd:
                known = ", ".join(filter(None, GRADES))
                raise UserError(
                    f"Row {number} of {path} has {given[odd[0]][:40]!r} under {odd[0]}_{end}, none of {known}: mend it."
                )
            found = [f"{start.replace('_', ' ')} {value.lower()}" for start, value in given.items() if GRADES[value]]
            unstated = [f"{start}_{end}" for start, value in given.items() if not value]
            empty += unstated
            undecided += [level] * bool(unstated and not found)
            label = "1" if found else "" if unstated else "0"
            rows.append((row["study_id"], level, label, "; ".join(found), reader))
        if empty:
            open_discs = f"; undecided: {', '.join(undecided)}" if undecided else ""
            lines.append(f"row {number}, study {row['study_id']}: empty {', '.join(empty)}{open_discs}")
    return pd.DataFrame(rows, columns=[*own_labels.NEEDED, *own_labels.OPTIONAL]), lines


def _named(positive: Sequence[str]) -> str:
    return " or ".join(FINDINGS[name][0] for name in positive)


# The command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``lhdlib labels``."""
    kinds = parser.add_subparsers(required=True, metavar="COLLECTION")
    own = kinds.add_parser("rsna", help="RSNA 2024 Lumbar Spine Degenerative Classification")
    own.add_argument("folder", type=Path, metavar="DIR", help=f"holds {GRADINGS}, {SERIES} and {IMAGES}")
    own.add_argument(
        "--positive",
        type=_findings,
        default="canal,subarticular",
        metavar="LIST",
        help=f"findings that make a disc abnormal, of {', '.join(FINDINGS)}; default: %(default)s",
    )


def _findings(text: str) -> tuple[str, ...]:
    chosen = tuple(name.strip() for name in text.split(","))
    if not set(chosen) <= FINDINGS.keys():
        raise argparse.ArgumentTypeError(f"{text!r} names other findings than {', '.join(FINDINGS)}")
    return tuple(dict.fromkeys(chosen))


def run(args: argparse.Namespace) -> int:
    """``lhdlib labels rsna``: write ``labels.csv`` beside the collection's tables, and list what is not stated."""
    table, empty = convert(args.folder, args.positive)
    path = args.folder / own_labels.NAME
    content = table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    if path.exists() and path.read_bytes() != content.encode():
        raise UserError(f"{path} is there already, with other labels: move it away first.")
    files.write_text(path, content)
    print(f"Abnormal is a disc with moderate or severe {_named(args.positive)}.")
    print("Stenosis is not herniation: whatever is trained on these labels finds narrowing, whatever caused it.")
    for level, own in table[table.label != ""].groupby("level"):
        print(f"{level}: {(own.label == '1').mean():.0%} of {len(own):,} discs abnormal")
    for line in empty:
        print(f"Not stated in {GRADINGS}, {line}")
    counts = table.label.value_counts()
    said = ", ".join(f"{counts.get(label, 0):,} {word}" for label, word in (("1", "abnormal"), ("0", "normal")))
    print(f"{path}: {table.patient.nunique():,} studies, {said}, {counts.get('', 0):,} undecided, which stay so.")
    print(f"Next: ./run_all.sh --profile demo --data {args.folder}")
    return 0
