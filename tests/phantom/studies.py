"""What several tests know of the phantom that the fixtures write, or build in the same way."""

import numpy as np
import pandas as pd

from lhdlib.phantom.anatomy import Disc, Patient
from lhdlib.phantom.painting import Grain
from lhdlib.phantom.segment import Segment

PATIENTS, SEED = 3, 5


def axial_headers(headers: pd.DataFrame, weighting: str) -> pd.DataFrame:
    """Rows of the axial series of one weighting."""
    return headers[headers.series.str.startswith(f"{weighting}_TSE_TRA")]


def flat_grain(shape: tuple[int, ...]) -> Grain:
    """Texture of a body without any."""
    return Grain(*np.zeros((3, *shape), np.float32))


def flat_segment(patient: Patient, disc: Disc, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> Segment:
    """Points about a disc in a body without texture, on maps of signal 0.5."""
    shape = np.broadcast_shapes(u.shape, v.shape, w.shape)
    return Segment(np.full((2, *shape), 0.5, np.float32), u, v, w, disc, patient, flat_grain(shape), 0.6875)
