"""Tables for a dataset's card, and the manifest by which two sites tell whether they built the same.

``lhdlib compare A B`` compares two manifests.
"""

import argparse
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from lhdlib import files
from lhdlib.data import dicom
from lhdlib.data.dataset import SLICES, Dataset
from lhdlib.data.discs import LEVELS
from lhdlib.data.splits import SPLITS
from lhdlib.errors import UserError
from lhdlib.progress import progress_bar

KEY = ["patient", "study", "level", "part"]  # names a sample
COMPARED = {"pixels": "pixels", "label": "label"} | {
    f"split_{split}": f"the place in split {split!r}" for split in SPLITS
}
SIDES = {"first": "left_only", "second": "right_only"}  # in pandas' words
COLUMNS = [*KEY, *COMPARED, "data"]
MAX_BYTES = 64 * 2**20  # of a manifest; the archive's has 1 MB
LISTED = 10  # samples named in a line of a comparison

HOW_TO_COMPARE = """\
Both sites run notebook 01 with the same profile and seed and exchange `manifest.csv` from `results/<profile>/01`. Its
rows are the samples: patient (the archive's folder), study (1 for a patient's first), level, part, label, place in both
splits, and a SHA-256 of the three slices. Then

```
lhdlib compare manifest_of_a.csv manifest_of_b.csv
```

says which samples only one of them has, and which differ in pixels, label or split. Equal digests of two manifests mean
the same dataset. The SHA-256 covers pixel values, matrix and pixel spacing as stored in the DICOM files: neither the
machine, nor lossless compression, nor headers made anonymous change it. The fingerprint covers the resampled pixels
instead, whose last bit may depend on the machine."""


# Tables of the card


def flow(data: Dataset, folder: Path) -> pd.DataFrame:
    """Where every file, slab and sample went, from the files of the archive to the splits.

    Parameters
    ----------
    folder : Path
        Where `dataset.build_dataset` has written ``rejected.csv``, ``discs.csv`` and ``set_aside.csv``.

    Returns
    -------
    pd.DataFrame
        ``step`` (what is counted), ``outcome`` (what became of it, or why it was set aside), ``number``, and
        ``set aside`` ("yes" or empty). The numbers of a step add up to all there was to count.
    """
    text = dict.fromkeys(("patient", "study", "path", "reason", "flag"), str)
    rejected, slabs, aside = (
        files.read_table(folder / f"{name}.csv", dtype=text) for name in ("rejected", "discs", "set_aside")
    )
    slices, place = _readable(data.slices), ["patient", "study", "level"]
    samples = data.samples.groupby(place).size().rename("samples").reset_index()
    slabs = slabs[slabs.weighting == "T2"].merge(samples, "left", place)
    unused = slabs[slabs.samples.isna() | slabs.flag.notna()]  # of two slabs of one disc a reviewer may have chosen one
    unused = _numbered(unused, place).merge(_numbered(aside, place), "left", [*place, "copy"])
    steps = [
        ("files", {"axial T1 and T2 slices": len(slices)}, _reasons(rejected.reason, ":")),
        ("axial slices", _counts(slices.weighting.replace("T1", "T1, pre-training only")), {}),
        ("axial slices in pre-training", _counts(slices.pretrain), {}),
        ("T2 slabs", {"labelled discs": len(slabs) - len(unused)}, _reasons(unused.reason, ";")),
        ("labelled discs", _counts(samples.samples.map("with {} of the samples".format)), {}),
    ]
    for split in SPLITS:
        parts = _counts(data.samples[f"split_{split}"])
        unused = {"beyond the balanced number": parts.pop("unused")} if "unused" in parts else {}
        steps.append((f"samples, split {split!r}", parts, unused))
    rows = [
        (step, outcome, number, mark)
        for step, kept, away in steps
        for outcomes, mark in ((kept, ""), (away, "yes"))
        for outcome, number in outcomes.items()
    ]
    return pd.DataFrame(rows, columns=["step", "outcome", "number", "set aside"])


def _numbered(table: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """With ``copy``: 0, 1, ... among the rows of one key."""
    return table.assign(copy=table.groupby(key).cumcount())


def _readable(slices: pd.DataFrame) -> pd.DataFrame:
    """Slices whose pixels could be read: the others are among the rejected files."""
    return slices[slices.pretrain.isin(("train", "validation"))]


def _counts(values: pd.Series) -> dict[str, int]:
    """Frequency of each value, the most frequent first."""
    return dict(sorted(values.value_counts().items(), key=lambda item: (-item[1], item[0])))


def _reasons(reasons: pd.Series, end: str) -> dict[str, int]:
    """Frequency of each reason; what follows `end` belongs to the single case."""
    return _counts(reasons.fillna("no reason recorded").str.split(end).str[0])


def prevalence(samples: pd.DataFrame) -> pd.DataFrame:
    """Abnormal samples of each level.

    Returns
    -------
    pd.DataFrame
        A row per level from cranial to caudal, then "all": ``level``, ``samples``, ``positive`` (counts), ``share``
        with its 95 % interval ``low``, ``high`` (Wilson).
    """
    order = [level for level in reversed(LEVELS) if (samples.level == level).any()]
    groups = [(level, samples[samples.level == level]) for level in order] + [("all", samples)]
    rows = [(level, len(table), int(table.label.sum()), *_share(table.label)) for level, table in groups]
    return pd.DataFrame(rows, columns=["level", "samples", "positive", "share", "low", "high"])


def _share(labels: pd.Series) -> tuple[float, float, float]:
    """Share of positive labels with Wilson's 95 % interval."""
    interval = binomtest(int(labels.sum()), len(labels)).proportion_ci(0.95, method="wilson")
    return float(labels.mean()), float(interval.low), float(interval.high)


def image_sizes(slices: pd.DataFrame) -> pd.DataFrame:
    """Matrix, pixel spacing and field of view of the slices, a row per combination, the most frequent first."""
    sizes = _readable(slices).round({"row_spacing": 4, "column_spacing": 4})
    place = ["weighting", "rows", "columns", "row_spacing", "column_spacing"]
    table = sizes.groupby(place).agg(slices=("path", "size"), patients=("patient", "nunique")).reset_index()
    table = table.sort_values(["slices", *place], ascending=[False] + [True] * len(place), ignore_index=True)
    return pd.DataFrame(
        {
            "weighting": table.weighting,
            "matrix": table["rows"].astype(str) + " × " + table["columns"].astype(str),
            "pixel (mm)": _pair(table.row_spacing, table.column_spacing, "{:.4f}"),
            "field of view (mm)": _pair(
                table["rows"] * table.row_spacing, table["columns"] * table.column_spacing, "{:.0f}"
            ),
            "slices": table.slices,
            "patients": table.patients,
        }
    )


def distances(data: Dataset, folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Thickness of the slices as the headers state it, and their distance within each slab of ``discs.csv``, in mm.

    Returns
    -------
    dict
        Name of the quantity -> weighting -> values; nan where a header states none.
    """
    slabs = files.read_table(folder / "discs.csv", dtype={"patient": str, "study": str})
    columns = {
        "slice thickness": (_readable(data.slices), "thickness"),
        "distance between neighbouring slices of a slab": (slabs, "spacing"),
    }
    return {
        name: {weighting: group[column].to_numpy(float) for weighting, group in table.groupby("weighting")}
        for name, (table, column) in columns.items()
    }


def _pair(first: pd.Series, second: pd.Series, form: str) -> pd.Series:
    return first.map(form.format) + " × " + second.map(form.format)


def facts(data: Dataset, table: pd.DataFrame) -> pd.DataFrame:
    """The dataset in a few lines: ``what``, ``value``; `table` is its `manifest`."""
    slices, (share, low, high) = _readable(data.slices), _share(data.samples.label)
    interval = f"{share:.1%}, 95 % interval {low:.1%} to {high:.1%}"
    rows = {
        "data": data.info["data_label"],
        "patients": f"{slices.patient.nunique():,}",
        "studies": f"{len(slices[['patient', 'study']].drop_duplicates()):,}",
        "axial slices": f"{len(slices):,}",
        "slice size in the store (pixels)": " × ".join(map(str, data.images.shape[1:])),
        "disc samples": f"{len(data.samples):,} of {data.samples.patient.nunique():,} patients",
        "abnormal samples": f"{int(data.samples.label.sum()):,} ({interval})",
        "fingerprint": data.info["fingerprint"],
        "digest of the manifest (SHA-256)": digest(table),
    }
    return pd.DataFrame(rows.items(), columns=["what", "value"])


# The manifest


def manifest(archive: Path, data: Dataset) -> pd.DataFrame:
    """A row per sample, sorted, with a SHA-256 of its pixels; the same data give the same table on every machine.

    Parameters
    ----------
    archive
        Folder of the dataset, whose slices are read again.

    Returns
    -------
    pd.DataFrame
        ``patient`` (the archive's folder), ``study`` (1 for the patient's first by name), ``level, part, label``,
        ``split_paper``, ``split_patient``, ``pixels`` (of the three slices' `pixel_digest`, cranial to caudal) and
        ``data`` (the data's label, so that no copy loses it).

    Raises
    ------
    UserError
        When a slice cannot be read.
    """
    samples = data.samples
    places = samples[SLICES].to_numpy()
    used, inverse = np.unique(places, return_inverse=True)
    slices = data.slices.iloc[used]
    spacings = zip(slices.row_spacing, slices.column_spacing, strict=True)
    tasks = progress_bar(zip(slices.path, spacings, strict=True), total=len(slices), desc="manifest")
    digests = np.array([_digest(archive / path, spacing) for path, spacing in tasks])
    studies = data.slices.groupby("patient").study.transform(lambda names: pd.factorize(names, sort=True)[0] + 1)
    table = samples.assign(
        study=studies.to_numpy()[places[:, 0]],
        pixels=[
            hashlib.sha256("".join(three).encode()).hexdigest() for three in digests[inverse.reshape(places.shape)]
        ],
        data=data.info["data_label"],
    )
    return table[COLUMNS].sort_values([*KEY, "pixels"], ignore_index=True)


def _digest(path: Path, spacing: tuple[float, float]) -> str:
    try:
        return pixel_digest(dicom.read_pixels(path), spacing)
    except (OSError, ValueError):
        raise UserError(f"{path} can no longer be read: run notebook 01 again.") from None


def pixel_digest(pixels: np.ndarray, spacing: Sequence[float]) -> str:
    """SHA-256 of a slice as acquired, before any resampling.

    Parameters
    ----------
    pixels : np.ndarray, shape (rows, columns)
        As `dicom.read_pixels` reads them: whole numbers, or whole numbers times a slope, exact in float32 everywhere.
    spacing : (float, float)
        Row and column spacing, mm.
    """
    shape = f"{pixels.shape[0]} x {pixels.shape[1]}, {spacing[0]:.6g} x {spacing[1]:.6g} mm;"
    return hashlib.sha256(shape.encode() + pixels.astype("<f4").tobytes()).hexdigest()


def digest(table: pd.DataFrame) -> str:
    """SHA-256 of a manifest: that of the file which `write_manifest` writes."""
    return hashlib.sha256(_csv(table)).hexdigest()


def _csv(table: pd.DataFrame) -> bytes:
    return table[COLUMNS].to_csv(index=False, lineterminator="\n").encode()


def write_manifest(path: Path, table: pd.DataFrame) -> None:
    """Write a `manifest` as CSV; equal tables, equal bytes."""
    with files.replacing(path) as temporary:
        temporary.write_bytes(_csv(table))


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest, possibly another site's; all columns are text.

    Raises
    ------
    UserError
        When the file is absent, too large or no manifest.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
        table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
        if list(table.columns) != COLUMNS:
            raise ValueError("other columns")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a manifest: name the manifest.csv of notebook 01.") from error
    return table


def compare_manifests(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """Differences between two tables of `read_manifest`, a line for each kind; none when they are the same dataset."""
    both = _numbered(first, KEY).merge(_numbered(second, KEY), "outer", [*KEY, "copy"], indicator="side")
    shared = both[both.side == "both"]
    found = {f"only in the {name}": both[both.side == side] for name, side in SIDES.items()}
    found |= {f"differ in {what}": shared[shared[f"{c}_x"] != shared[f"{c}_y"]] for c, what in COMPARED.items()}
    lines = [f"{len(rows):,} {what}: {_names(rows)}" for what, rows in found.items() if len(rows)]
    labels = [_data(table) for table in (first, second)]
    return lines + [f"The data are called {labels[0]!r} and {labels[1]!r}."] * (labels[0] != labels[1])


def _data(table: pd.DataFrame) -> str:
    return " / ".join(sorted(set(table.data)))


def _names(rows: pd.DataFrame) -> str:
    names = [f"{r.patient} study {r.study} {r.level} part {r.part}" for r in rows.head(LISTED).itertuples()]
    more = [f"and {len(rows) - LISTED:,} more"] if len(rows) > LISTED else []
    return _printable(", ".join(names + more))


def _printable(text: str) -> str:
    """Without control characters, which another site's file may hold."""
    return "".join(c if c.isprintable() else "?" for c in text)


# The command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``lhdlib compare``."""
    parser.add_argument("manifests", nargs=2, type=Path, metavar="MANIFEST", help="manifest.csv of notebook 01")


def run(args: argparse.Namespace) -> int:
    """``lhdlib compare``: 0 for the same dataset, 1 where they differ."""
    tables = [read_manifest(path) for path in args.manifests]
    for name, path, table in zip(("first", "second"), args.manifests, tables, strict=True):
        print(f"{name}: {path}: {len(table):,} samples, digest {digest(table)[:16]}, data: {_printable(_data(table))}")
    differences = compare_manifests(*tables)
    print("\n".join(differences or ["The same dataset: samples, pixels, labels and splits agree."]))
    return 1 if differences else 0
