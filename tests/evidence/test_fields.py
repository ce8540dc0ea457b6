"""Receptive fields of built networks against their geometry, and against moments computed forwards."""

import numpy as np
import pytest

from lhdlib import profile
from lhdlib.evidence import fields
from lhdlib.model import encoder

SMALL = [((1, 1), (1, 1), 32), ((1, 2, 1), (1, 1, 1), 48), ((1, 2), (2, 1), 33)]


def settings(strides, blocks):
    return profile.load("smoke").replace(encoder={"strides": strides, "blocks": blocks, "width": 16}).encoder


@pytest.mark.slow
@pytest.mark.parametrize("strides, blocks, size", SMALL)
def test_a_field_that_no_border_cuts_is_centred_on_stride_times_its_number(strides, blocks, size):
    one = settings(strides, blocks)
    found = fields.centroids(one, size, margin=8)
    np.testing.assert_allclose(found, encoder.stride(one) * np.arange(len(found)), atol=0.01)
    assert len(found) == -(-size // encoder.stride(one))


@pytest.mark.slow
@pytest.mark.parametrize("strides, blocks, size", SMALL)
def test_a_cut_field_is_the_mean_place_of_what_passes_through(strides, blocks, size):
    """All is linear for positive pixels: the cells of a ramp over the cells of a constant, without a gradient."""
    one = settings(strides, blocks)
    found = fields.centroids(one, size)
    network = fields._averaging(one, size)  # as wide as the profile's: all channels are alike
    ramp = np.broadcast_to(np.arange(size, dtype=np.float32)[:, None], (size, size))
    images = np.stack([ramp, np.ones_like(ramp)])[..., None]
    cells = network(images, training=False).numpy()
    assert np.ptp(cells, axis=-1).max() < 1e-4 * cells.max()
    middle = cells.shape[1] // 2
    np.testing.assert_allclose(found, (cells[0] / cells[1])[:, middle, 0], rtol=1e-3)
    centre = encoder.stride(one) * np.arange(len(found))
    assert found[0] > centre[0] + 1 and found[-1] < size - 1 and (np.diff(found) > 0).all()


def test_the_papers_network_is_drawn_off_its_fields(monkeypatch):
    """Ten cells, 32 pixels apart, drawn 30 pixels apart, of 220 / 300 mm each."""
    monkeypatch.setattr(fields, "centroids", lambda encoder, size: np.arange(10) * 30.0)
    places = fields.cell_places(profile.load("paper"))
    pixel = 220 / 300
    np.testing.assert_allclose(places.drawn, [pixel * (15 + 30 * i) for i in range(10)])
    np.testing.assert_allclose(places.centre, [pixel * (32 * i + 0.5) for i in range(10)])
    np.testing.assert_allclose(places["drawn - centroid"], pixel * 14.5)
    gaps = places["drawn - centre"].round(1).tolist()
    assert (gaps[0], gaps[4], gaps[5], gaps[-1]) == (10.6, 4.8, 3.3, -2.6)
