"""The kinds of lesion: what notes name, and a head that is the classifier of stage 2 for each kind."""

import numpy as np
import pandas as pd
import pytest

from lhdlib import profile
from lhdlib.errors import UserError
from lhdlib.model import finetune, kinds

SETTINGS = profile.load("smoke").replace(finetune={"epochs": 3, "seeds": 2, "batch": 16}).finetune


def made_up(seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Features of two networks, as `finetune.repeated_features` gives them."""
    rng = np.random.default_rng(seed)
    shapes = {"train": (2, 40, 3, 4), "test": (9, 3, 4)}
    return [{part: rng.normal(size=shape).astype(np.float32) for part, shape in shapes.items()} for _ in range(2)]


@pytest.mark.parametrize(
    "note, level, wanted",
    [
        ("Diffuse disc bulge at L4-L5, compressing the thecal sac.", "L4-L5", [1, 0, 0, 0, 1]),
        ("Diffuse disc bulge at L4-L5, compressing the thecal sac.", "L5-S1", [0, 0, 0, 0, 0]),
        ("Left paracentral disc protrusion with annular tear at L5-S1.", "L5-S1", [0, 1, 0, 1, 0]),
        ("Central disc extrusion at L5-S1 compressing nerve roots.", "L5-S1", [0, 0, 1, 0, 1]),
        ("Disc sequestration at L4-L5.", "L4-L5", [0, 0, 1, 0, 0]),
        ("Disc bulge at L4-L5 narrowing both exit foramina.", "L4-L5", [1, 0, 0, 0, 1]),
        ("No disc bulge at L4-L5.", "L4-L5", [0, 0, 0, 0, 0]),
        ("Disc bulge at L4-L5 cannot be excluded.", "L4-L5", [0, 0, 0, 0, 0]),
        ("Disc herniation at L4-L5.", "L4-L5", [0, 0, 0, 0, 0]),
        ("", "L4-L5", [0, 0, 0, 0, 0]),
    ],
)
def test_kinds_are_what_the_note_names_at_the_level(note, level, wanted):
    found = kinds.noted_kinds(pd.DataFrame({"note": ["Normal study.", note], "level": [level, level]}))
    assert found.dtype == bool and found.astype(int).tolist() == [[0] * 5, wanted]


def test_no_disc_has_no_kinds():
    assert kinds.noted_kinds(pd.DataFrame({"note": [], "level": []})).shape == (0, len(kinds.KINDS))


@pytest.mark.slow
def test_each_kind_is_the_classifier_of_stage_2_of_that_label():
    repeated, own = made_up(), np.random.default_rng(1).random((40, 5)) < 0.4
    head = kinds.train_head(repeated, own, SETTINGS, 3)
    assert head.weights.shape == (4, 5, 3, 4) and head.bias.shape == (4, 5)
    for network in range(2):
        for kind in (0, 4):
            weights, bias, _ = finetune.train_linear(repeated[network]["train"], own[:, kind], SETTINGS, [3, 4])
            np.testing.assert_allclose(head.weights[2 * network : 2 * network + 2, kind], weights, atol=1e-5)
            np.testing.assert_allclose(head.bias[2 * network : 2 * network + 2, kind], bias, atol=1e-5)
    said = kinds.test_logits(head, repeated)
    for m in range(4):
        wanted = finetune.logits(repeated[m // 2]["test"], head.weights[m], head.bias[m])
        np.testing.assert_allclose(said[m].T, wanted, atol=1e-5)


def test_a_head_is_that_of_its_run_alone(tmp_path):
    rng = np.random.default_rng(0)
    head = kinds.Head(rng.normal(size=(2, 5, 3, 4)), rng.normal(size=(2, 5)))
    rows, said = rng.integers(0, 9, (7, 3)), rng.normal(size=(2, 7, 5))
    (tmp_path / "04").mkdir()
    classifier = tmp_path / kinds.CLASSIFIER
    classifier.write_bytes(b"one")
    assert kinds.load_head(tmp_path) is None
    kinds.save_head(tmp_path, head, rows, said)
    found, same_rows, same_said = kinds.load_head(tmp_path)
    assert (found.weights == head.weights).all() and (found.bias == head.bias).all()
    assert (same_rows == rows).all() and (same_said == said).all()
    classifier.write_bytes(b"another")
    assert kinds.load_head(tmp_path) is None
    classifier.write_bytes(b"one")
    path = tmp_path / kinds.FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="is damaged"):
        kinds.load_head(tmp_path)
