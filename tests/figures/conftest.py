"""A figure of `drawing`, drawn and saved once for all tests."""

import functools
import warnings
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from lhdlib.figures import publish
from tests.figures.drawing import STAMP, draw


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The figure of a name, and where it is saved."""

    @functools.cache
    def save(name: str) -> tuple[Figure, Path]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fig = draw(name)
            return fig, publish.save_figure(fig, name, tmp_path_factory.mktemp(name), STAMP, "A caption.")

    return save
