"""Share of the heatmap in each tissue of the public label masks (doi:10.17632/zbf6b4pttk)."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lhdlib import profile as profiles
from lhdlib.data import resampling
from lhdlib.errors import UserError
from lhdlib.evaluate import patient_mean
from lhdlib.evidence.localise import inside, share_of_heat

#: Grey values of the public label masks (doi:10.17632/zbf6b4pttk).
TISSUES = {50: "disc", 100: "posterior element", 150: "thecal sac", 200: "area between", 250: "other"}
LABEL_LEVELS = {"D3": "L3-L4", "D4": "L4-L5", "D5": "L5-S1"}
LABEL_NAME = re.compile(r"L\d_(\d{4})_(D[345])\.png")
MAX_LABEL_BYTES, MAX_LABEL_SIDE = 4_000_000, 1024


# The public label masks


def label_files(folder: Path) -> dict[tuple[str, str], Path]:
    """Label masks in a data folder, by patient and disc level: ``.../Label_Images/L1_0001_D3.png``."""
    masks = {}
    for path in sorted(folder.glob("**/Label_Images/*.png")):
        if match := LABEL_NAME.fullmatch(path.name):
            masks[match[1], LABEL_LEVELS[match[2]]] = path
    return masks


def read_labels(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a label mask.

    Parameters
    ----------
    path : Path
        PNG.
    shape : (int, int)
        Rows and columns of the slice that it lies on.

    Returns
    -------
    np.ndarray of uint8
        0 or a key of `TISSUES`.

    Raises
    ------
    UserError
        When it is no PNG, damaged, too large, of another shape, or holds other grey values.
    """
    mend = "fetch it again, or take it out of the data folder."
    try:
        if path.stat().st_size > MAX_LABEL_BYTES:
            raise ValueError("the file is too large")
        with Image.open(path, formats=("PNG",)) as image:
            if max(image.size) > MAX_LABEL_SIDE:  # before any pixel is decoded
                raise ValueError("the image is too large")
            labels = np.asarray(image.convert("L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not a usable label mask ({error}): {mend}") from error
    if labels.shape != tuple(shape):
        sizes = f"{labels.shape[0]} x {labels.shape[1]} pixels, its slice {shape[0]} x {shape[1]}"
        raise UserError(f"{path} has {sizes}: {mend}")
    if unknown := set(np.unique(labels).tolist()) - {0, *TISSUES}:
        raise UserError(f"{path} has the unknown grey value {min(unknown)}: {mend}")
    return labels


def labelled_slice(samples: pd.DataFrame) -> np.ndarray:
    """Place in a sample (0 to 2) of the slice that the publishers labelled: the disc's third of four or five.

    Parameters
    ----------
    samples : pd.DataFrame
        All samples of a dataset: ``patient, study, level, part``. Discs of four slices have two samples.
    """
    parts = samples.groupby(["patient", "study", "level"]).part.transform("size")
    return np.where((parts == 2) & (samples.part == 0), 2, 1)


def tissue_heat(
    heat: np.ndarray,
    rows: np.ndarray,
    slices: pd.DataFrame,
    files: list[Path],
    settings: profiles.Data,
    patients: np.ndarray,
    *,
    seed: int = 0,
) -> tuple[pd.DataFrame, list[str]]:
    """Share of the heat, and of the area, in each tissue of labelled slices.

    Parameters
    ----------
    heat : shape (n, W, W)
        One slice each.
    rows : np.ndarray of int, shape (n,)
        Rows of `slices`.
    files
        Label masks of these slices.
    patients : shape (n,)

    Returns
    -------
    table : pd.DataFrame
        ``tissue``; ``heat`` and ``area``: mean share, equal for a map that ignores the slice; ``low``, ``high``: of the
        heat; ``discs``.
    unusable : list of str
        Why masks were left out.
    """
    kept, covers, unusable = [], [], []
    for number, (path, slice_) in enumerate(zip(files, slices.loc[rows].itertuples(), strict=True)):
        try:
            labels = read_labels(path, (slice_.rows, slice_.columns))
        except UserError as error:
            unusable.append(str(error))
            continue
        kept.append(number)
        grid = (slice_.row_spacing, slice_.column_spacing), settings.image_size, settings.field_of_view_mm
        covers.append([resampling.resample(labels == value, *grid) for value in TISSUES])
    columns = ["tissue", "heat", "low", "high", "area", "discs"]
    if not kept:
        return pd.DataFrame(columns=columns), unusable
    cover = np.stack(covers)  # (n, tissues, W, W)
    warm = inside(share_of_heat(heat[kept])[:, None], cover)
    table = []
    for name, values, area in zip(TISSUES.values(), warm.T, cover.mean(axis=(0, 2, 3)), strict=True):
        share = patient_mean(values, np.asarray(patients)[kept], reach=(0.0, 1.0), seed=seed)
        table.append((name, *share, float(area), len(kept)))
    return pd.DataFrame(table, columns=["tissue", "heat", "low", "high", "area", "discs"])[columns], unusable
