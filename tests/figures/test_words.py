"""Numbers as text: what is written can be read back, and says what was given."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lhdlib import profile
from lhdlib.figures import words

numbers = st.floats(-1, 1)
NUMBER = r"[+−]?\d+\.\d{3}"


def read(text: str) -> list[float]:
    """The numbers of a text, minus as such."""
    assert "-" not in text
    return [float(found.replace("−", "-")) for found in re.findall(NUMBER, text)]


@given(numbers, numbers, numbers)
def test_an_interval_is_read_back(value, low, high):
    found = {"value": value, "low": low, "high": high}
    text = words.interval_text(found)
    assert re.fullmatch(rf"{NUMBER} \[{NUMBER}, {NUMBER}\]", text) and "+" not in text
    assert read(text) == pytest.approx([value, low, high], abs=5.01e-4)
    assert read(words.difference_text(found)) == pytest.approx([value, low, high], abs=5.01e-4)
    assert len(re.findall(r"[+−]\d", words.difference_text(found))) == 3  # every number has its sign
    assert words.interval_text({"mean": value, "low": low, "high": high, "sd": 0.1}) == text


def test_spread_and_test_stand_where_there_are_any():
    summary = {"mean": 0.8764, "low": 0.82, "high": 0.92}
    assert words.summary_text(summary) == "0.876 [0.820, 0.920]"
    assert words.summary_text(summary | {"sd": 0.0214}) == "0.876 ± 0.021 [0.820, 0.920]"
    difference = {"value": 0.04, "low": -0.01, "high": 0.09}
    assert words.difference_text(difference, test="DeLong") == "+0.040 [−0.010, +0.090]"
    assert (
        words.difference_text(difference | {"p": 0.1234}, test="DeLong") == "+0.040 [−0.010, +0.090], DeLong p = 0.12"
    )
    assert words.difference_text(difference | {"p": 0.1234}) == "+0.040 [−0.010, +0.090], p = 0.12"
    assert words.interval_text(difference, form=".1f") == "0.0 [−0.0, 0.1]"


def test_what_was_not_measured_is_a_dash():
    assert words.interval_text(None) == words.summary_text(None) == words.difference_text(None, test="DeLong") == "–"


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_setting_has_one_name_in_text_and_one_in_files(w, drop_rate):
    text, key = words.setting_text((w, drop_rate)), profile.setting_key(w, drop_rate)
    assert re.fullmatch(r"w = (\S+), dr = (\S+)", text).groups() == re.fullmatch(r"w(.+)_dr(.+)", key).groups()
    assert not re.search(r"[\s/\\=,]", key)


def test_other_names_stay_as_they_are():
    assert words.setting_text("random") == "random"
    assert words.shape_text((3, 300, 300)) == "3×300×300" and words.shape_text(()) == ""
    layers = ["conv2d", "conv2d_12", "conv2d_transpose_3", "code", "input_layer"]
    shown = ["convolution", "convolution", "transposed conv.", "code", "input_layer"]
    assert [words.layer_text(name) for name in layers] == shown


def test_a_list_is_read_aloud():
    assert [words.listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_ends_of_a_scale_have_their_colours():
    assert words.scale_ends(-0.001, 2) == "−0.001 (dark) to 2 (bright)"
    assert words.signed_ends(0.25) == "−0.25 (orange) to +0.25 (purple)"


@pytest.mark.parametrize("seed", range(5))
def test_the_hottest_place_is_found(seed):
    image = np.random.default_rng(seed).random((10, 20))
    row, column = divmod(max(range(200), key=lambda i: image[i // 20, i % 20]), 20)
    left, top = map(int, re.findall(r"(\d+)%", words.place_of(image)))
    assert left == pytest.approx(5 * column + 2.5, abs=0.5) and top == pytest.approx(10 * row + 5, abs=0.5)


def test_the_place_is_a_cells_middle():
    image = np.zeros((10, 20))
    image[7, 3] = 1
    assert words.place_of(image) == "18% from the left and 75% from the top"


def test_how_cells_are_drawn_is_said_where_it_is_not_as_published():
    plain = profile.load("demo").replace(heatmaps={"cells": "published"}, finetune={"test_crop": "whole"})
    assert words.cells_text(plain) == ""
    aligned = words.cells_text(plain.replace(heatmaps={"cells": "aligned"}))
    cropped = words.cells_text(plain.replace(finetune={"test_crop": "central"}))
    assert "receptive field" in aligned and "frame" not in aligned
    assert "frame" in cropped and "receptive field" not in cropped
    both = words.cells_text(plain.replace(heatmaps={"cells": "aligned"}, finetune={"test_crop": "central"}))
    assert both == f"{aligned} {cropped}"


@pytest.mark.parametrize(("sd", "shown"), [(0.0123, "0.800 ± 0.012 ["), (0.0004, "0.800 ["), (0.0, "0.800 [")])
def test_a_spread_that_is_none_in_three_digits_is_not_shown(sd, shown):
    assert words.summary_text({"mean": 0.8, "sd": sd, "low": 0.7, "high": 0.9}).startswith(shown)
