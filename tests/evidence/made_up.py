"""Made-up maps, lesions and slices for the tests of the evidence."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from lhdlib import gradcam
from lhdlib.data.dicom_file.rules import key_of
from lhdlib.evidence import localise

PUBLISHED, ALIGNED = gradcam.Cells(1 / 8, 1 / 4), gradcam.Cells(1 / 32, 1 / 4)  # four cells on 16 pixels
SETTINGS = SimpleNamespace(image_size=16, field_of_view_mm=11.0)


def disc_of(size: int, row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


def draw(seed: int, n: int = 6, size: int = 16, u: int = 4):
    """Maps, covers, distances and patients; some slices show no lesion, every sample has one that does."""
    rng = np.random.default_rng(seed)
    maps = gradcam.normalise(rng.random((n, 3, u, u), np.float32))
    cover = np.stack([[disc_of(size, *rng.uniform(3, 12, 2), rng.uniform(1, 3)) for _ in range(3)] for _ in range(n)])
    cover = cover.astype(np.float32)
    cover[rng.integers(n), rng.integers(3)] = 0
    return maps, cover, localise.distance_mm(cover, np.full((n, 3), 2.0)), np.array([f"p{i // 2}" for i in range(n)])


def slice_table(rows: int, columns: int, spacing: float, count: int) -> pd.DataFrame:
    uids = [f"1.2.{i}" for i in range(count)]
    table = {"path": uids, "sop_key": [*map(key_of, uids)], "rows": rows, "columns": columns}
    return pd.DataFrame(table | {"row_spacing": spacing, "column_spacing": spacing})


def compared(maps: np.ndarray, cover: np.ndarray, classic: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All kinds of maps; the first two discs stand for the normal ones."""
    kinds = {"paper": maps, "classic": maps[::-1] if classic is None else classic, "plain": maps.mean(axis=1)[:, None]}
    return localise.compared_maps(kinds, maps[:2], cover, PUBLISHED, ALIGNED, draws=300)


def located(
    maps: np.ndarray,
    cover: np.ndarray,
    distance: np.ndarray,
    patients: np.ndarray,
    *,
    classic: np.ndarray | None = None,
) -> localise.Localisation:
    """All scores of maps whose slices weigh the same."""
    weight = localise.compared_weights(np.full((len(maps), 3), 1 / 3), np.full((2, 3), 1 / 3))
    return localise.measure(compared(maps, cover, classic), weight, cover, distance, patients, cells="published")
