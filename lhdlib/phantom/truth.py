"""What is true of a phantom: its discs, and the mask of each lesion in each slice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lhdlib.errors import UserError
from lhdlib.phantom.anatomy import Patient, Slab


def truth_row(patient: Patient, slab: Slab, masks: list[np.ndarray]) -> dict[str, Any]:
    """Truth of the disc whose slices are the last of `masks`."""
    disc, count = patient.discs[slab.disc], len(slab.offsets)
    lesion = disc.lesion
    return {
        "patient": f"{patient.number:04d}",
        "level": disc.level,
        "label": int(lesion is not None),
        "lesion": lesion.kind if lesion else "none",
        "side": lesion.side if lesion else "none",
        "depth_mm": round(lesion.depth, 2) if lesion else 0.0,
        "width_mm": round(lesion.width, 2) if lesion else 0.0,
        "severity": round(disc.severity, 4),
        "first_slice": len(masks) - count + 1,
        "central_slice": len(masks) - count + 1 + int(np.argmin(np.abs(slab.offsets))),
        "slices": count,
        "lesion_slices": sum(bool(mask.any()) for mask in masks[-count:]),
    }


class _Masks(Mapping):
    """Lesion masks by SOPInstanceUID, unpacked on access."""

    def __init__(self, path: Path):
        with np.load(path, allow_pickle=False) as data:
            self._shape, self._stop, self._bits = data["shape"], data["stop"], data["bits"]
            self._row = {str(uid): row for row, uid in enumerate(data["uid"])}

    def __getitem__(self, uid: str) -> np.ndarray:
        row = self._row[uid]
        rows, columns = self._shape[row]
        size = -(-rows * columns // 8)
        bits = np.unpackbits(self._bits[self._stop[row] - size : self._stop[row]], count=rows * columns)
        return bits.reshape(rows, columns).astype(bool)

    def __iter__(self):
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)


def load_truth(folder: str | Path) -> tuple[pd.DataFrame, Mapping[str, np.ndarray]]:
    """Read a phantom's truth.

    Parameters
    ----------
    folder : path
        What `write_phantom` was given.

    Returns
    -------
    discs : DataFrame
        A row per imaged disc: patient ("0001"), level, label, lesion, side, depth_mm, width_mm, severity (0 to 1),
        first_slice and central_slice (1-based, in the T2 axial series), slices, lesion_slices (with a lesion in them).
    masks : Mapping
        SOPInstanceUID of a T2 axial slice to its lesion mask, ``(rows, columns)`` bool.

    Raises
    ------
    UserError
        When `folder` holds no phantom.
    """
    truth = Path(folder) / "truth"
    if not (truth / "discs.csv").is_file():
        raise UserError(f"{truth} holds no phantom truth: write the phantom first, or name its folder.")
    discs = pd.read_csv(truth / "discs.csv", dtype={"patient": str}, keep_default_na=False)
    return discs, _Masks(truth / "masks.npz")
