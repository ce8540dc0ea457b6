"""Truth of a phantom: its discs, and the mask of each lesion in each slice."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lhdlib.errors import UserError
from lhdlib.phantom.anatomy import Patient
from lhdlib.phantom.disease import grade
from lhdlib.phantom.reading import Reading


class PackedMask(NamedTuple):
    """A mask, eight pixels in a byte."""

    shape: tuple[int, ...]
    bits: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray) -> "PackedMask":
        """Pack a boolean mask."""
        return cls(mask.shape, np.packbits(mask))

    def unpacked(self) -> np.ndarray:
        """The boolean mask."""
        return np.unpackbits(self.bits, count=int(np.prod(self.shape))).reshape(self.shape).astype(bool)


def truth_rows(patient: Patient, reading: Reading, masks: Sequence[Sequence[np.ndarray]]) -> list[dict[str, Any]]:
    """Truth of a patient's imaged discs, from both readings and the lesion masks of each slab's slices."""
    places = {disc.level: i for i, disc in enumerate(reading.discs)}
    rows, first = [], 1
    for slab, mine in zip(patient.slabs, masks, strict=True):
        disc = patient.discs[slab.disc]
        place, displacement = places[disc.level], disc.displacement
        rows.append(
            {
                "patient": f"{patient.number:04d}",
                "level": disc.level,
                "label": int(disc.abnormal),
                "noted": int(reading.noted[place]),
                "second_reader": int(reading.second[place]),
                "severity": round(disc.severity, 4),
                "grade": grade(disc.degeneration),
                "lesion": displacement.kind if disc.abnormal else "none",
                "side": displacement.side if displacement.depth else "none",
                "depth_mm": round(displacement.depth, 2),
                "width_mm": round(displacement.width, 2) if displacement.depth else 0.0,
                "tear": int(disc.tear is not None),
                "first_slice": first,
                "central_slice": first + int(np.argmin(np.abs(slab.offsets))),
                "slices": len(slab.offsets),
                "lesion_slices": sum(bool(mask.any()) for mask in mine),
            }
        )
        first += len(slab.offsets)
    return rows


def write_truth(folder: Path, rows: list[dict[str, Any]], masks: Mapping[str, PackedMask]) -> None:
    """Write discs and masks (by SOPInstanceUID) where `load_truth` finds them."""
    truth = folder / "truth"
    truth.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(truth / "discs.csv", index=False)
    np.savez_compressed(
        truth / "masks.npz",
        uid=np.array(list(masks)),
        shape=np.array([mask.shape for mask in masks.values()]),
        stop=np.cumsum([len(mask.bits) for mask in masks.values()]),
        bits=np.concatenate([mask.bits for mask in masks.values()]),
    )


class _Masks(Mapping[str, np.ndarray]):
    """Lesion masks by SOPInstanceUID, unpacked on access."""

    def __init__(self, path: Path):
        with np.load(path, allow_pickle=False) as data:
            parts = np.split(data["bits"], data["stop"][:-1])
            entries = zip(data["uid"], data["shape"], parts, strict=True)
            self._packed = {str(uid): PackedMask(tuple(shape), bits) for uid, shape, bits in entries}

    def __getitem__(self, uid: str) -> np.ndarray:
        return self._packed[uid].unpacked()

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


def beside(archive: Path) -> Path | None:
    """The folder for `load_truth` of the phantom that an archive belongs to; None for any other archive."""
    return archive.parent if (archive.parent / "truth" / "discs.csv").is_file() else None


def load_truth(folder: str | Path) -> tuple[pd.DataFrame, Mapping[str, np.ndarray]]:
    """Read a phantom's truth from the folder that `write_phantom` was given.

    Returns
    -------
    discs : DataFrame
        A row per imaged disc: patient ("0001"), level; abnormal in truth (label), by the note (noted), by a
        second_reader; severity (above 0: abnormal), grade (1 to 5), lesion, side, depth_mm, width_mm, tear;
        first_slice, central_slice (1-based, in the T2 axial series), slices, lesion_slices.
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
