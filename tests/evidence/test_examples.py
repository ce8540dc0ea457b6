"""Examples for figures, chosen by what they show."""

import numpy as np
import pytest

from lhdlib import augment
from lhdlib import profile as profiles
from lhdlib.evidence import examples


def test_the_unlike_image_correlates_least_with_the_first():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (6, 16, 16))
    images[1], images[4] = images[0] + 0.01 * images[1], 1 - images[0]
    assert examples.unlike(images) == (0, 4)


@pytest.mark.slow
def test_the_strong_draw_turns_and_crops_every_view():
    """Its weakest view is stronger than that of the first twenty draws, and none is skipped."""
    profile = profiles.load("smoke")
    images = np.zeros((2, 32, 32), np.float32)

    def weakest(seed) -> float:
        _, crops = augment.draw(images[..., None], seed, profile)
        shares = [(x1 - x0) * (y1 - y0) / 32**2 for x0, y0, x1, y1 in crops.box]
        turns = crops.angle_deg.abs() / profile.views.theta_deg
        return min(-1 if skipped else t + 1 - s for t, s, skipped in zip(turns, shares, crops.skipped, strict=True))

    chosen = examples.strong_draw(images, 3, profile)
    assert chosen[0] == 3 and weakest(chosen) > 0
    assert all(weakest(chosen) >= weakest((3, draw)) for draw in range(20))
