"""A small phantom that all its tests read, and many patients that are not rendered."""

from pathlib import Path

import pandas as pd
import pydicom
import pytest

from lhdlib.phantom import anatomy, archive
from tests.phantom.studies import PATIENTS, SEED


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "two-workers"
    assert archive.write_phantom(folder, PATIENTS, seed=SEED, workers=2) == folder / "archive"
    return folder


@pytest.fixture(scope="session")
def headers(written) -> pd.DataFrame:
    rows = []
    for path in sorted((written / "archive" / "01_MRI_Data").rglob("*.ima")):
        ds = pydicom.dcmread(path)
        rows.append({"path": path, "patient": path.parts[-4], "series": path.parts[-2], "ds": ds})
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def anatomies() -> list[anatomy.Patient]:
    return [anatomy.sample_patient(11, number) for number in range(1, 401)]
