"""What several tests know of the phantom that the fixtures write, or read from it."""

import pandas as pd

PATIENTS, SEED = 3, 5


def axial_headers(headers: pd.DataFrame, weighting: str) -> pd.DataFrame:
    """Rows of the axial series of one weighting."""
    return headers[headers.series.str.startswith(f"{weighting}_TSE_TRA")]
