"""The examples in docstrings do what they show."""

import doctest
import importlib

import pytest

from lhdlib.cache import PACKAGE

WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_do_what_they_show(module):
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0 and found.failed == 0


def test_the_public_names_of_the_method_have_an_example():
    names = {
        "lhdlib.model.losses": ("contrastive_loss", "contrastive_accuracy"),
        "lhdlib.augment": ("sample_crops", "contrastive_views"),
        "lhdlib.gradcam": ("heatmaps", "classic_heatmap"),
        "lhdlib.evaluate": ("binary_metrics",),
    }
    for module, functions in names.items():
        for function in functions:
            assert ">>>" in getattr(importlib.import_module(module), function).__doc__, function
