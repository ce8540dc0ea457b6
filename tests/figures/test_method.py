"""The method's figures, 1 to 7: drawn from what they are given, wrong input is named."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from lhdlib.figures import method
from tests.figures.drawing import crops, draw, slices, texts


def test_crop_frames_are_equation_12():
    augment = pytest.importorskip("lhdlib.augment")
    fig = draw("fig05_pretraining")
    frames = [p for p in fig.findobj(Rectangle) if not p.get_fill() and p.get_width() > 2]
    drawn = [frame.get_corners() for frame in frames]
    rows = crops()[~crops().skipped]
    assert len(drawn) == len(rows)
    for corners, row in zip(drawn, rows.itertuples(), strict=True):
        x0, y0, x1, y1 = row.box
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        expected = augment.rotate_back(points, np.array(row.center), np.full(4, row.angle_deg))
        np.testing.assert_allclose(corners, expected, atol=1e-9)


def test_finetuning_probability_is_that_of_the_drawn_features():
    features, weights = np.ones((3, 2)), np.array([[0.5, 0.5], [0.0, -1.0], [1.0, 0.0]])
    fig = method.fig07_finetuning(
        slices=slices(3), box=(1, 1, 20, 20), crops=slices(3), features=features, weights=weights, bias=0.5, label=0
    )
    h = 1 - 1 + 1 + 0.5
    assert f"probability {1 / (1 + np.exp(-h)):.2f}" in texts(fig) and "label: normal" in texts(fig)


def test_the_pre_training_step_states_its_loss():
    assert f"loss (Eq. 6) = {4 * np.log(3):.3f}" in texts(draw("fig05_pretraining"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: method.fig02_contrastive(images=slices(3), views=slices(4)), "images"),
        (lambda: method.fig02_contrastive(images=slices(2), views=slices(3)), "views"),
        (
            lambda: method.fig01_autoencoder(
                slices=slices(1), reconstructions=slices(1), codes=np.ones((1, 4)), layers=[("a", (4,))]
            ),
            "code",
        ),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
