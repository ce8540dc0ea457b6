"""The skeleton of the widgets: one refresh for each move, whatever the refresh itself moves."""

import html
import re

import ipywidgets as widgets
import numpy as np
import pytest
from ipywidgets.widgets import widget

from lhdlib.show import panel


class Counter(panel.Panel):
    """A list that decides how far a slider goes; counts how often it is drawn, and shows what its controls say."""

    def __init__(self):
        self.size = panel.dropdown("size", ["3", "5", "9"])
        self.slider = widgets.IntSlider(min=0, max=9)
        self.picture, self.message = widgets.HTML(), panel.Message()
        self.drawn, self.changed = 0, []
        super().__init__("counter", [self.size, self.slider, self.picture, self.message], slider=self.slider)
        self.follow([self.size, self.slider])
        self.update()

    def refresh(self, changed=None):
        self.drawn += 1
        self.changed.append(changed)
        if changed is not self.slider:
            self.slider.value, self.slider.max = 0, int(self.size.value)
        if self.slider.value == 7:
            raise ValueError("seven")
        self.picture.value = f"{self.size.value}:{self.slider.value}"


def test_every_move_draws_once_and_the_picture_follows_the_controls():
    view, rng, moves = Counter(), np.random.default_rng(0), 1
    for _ in range(200):
        before = view.size.value, view.slider.value
        if rng.random() < 0.5:
            view.size.value = str(rng.choice(["3", "5"]))
            moves += view.size.value != before[0]
            assert view.changed[-1] is view.size or view.size.value == before[0]
        else:
            view.slider.value = int(rng.integers(view.slider.max + 1))
            moves += view.slider.value != before[1]
        assert view.drawn == moves and view.picture.value == f"{view.size.value}:{view.slider.value}"
    assert moves > 80


def test_a_refresh_that_fails_does_not_stop_the_next():
    view = Counter()
    view.size.value = "9"
    with pytest.raises(ValueError, match="seven"):
        view.slider.value = 7
    view.slider.value = 8
    assert view.picture.value == "9:8"


def test_parts_are_named_and_the_style_is_not_shown():
    view = Counter()
    assert {"lhd-panel", "lhd-counter"} <= set(view._dom_classes) and "lhd-slider" in view.slider._dom_classes
    style, script = view.children[:2]
    assert "lhd-hidden" in style._dom_classes and "lhd-hidden" in script._dom_classes
    assert list(script.outputs[0]["data"]) == ["application/javascript"]
    assert style.value.count("<style>") == style.value.count("</style>") == 1
    assert "\\" not in style.value and "<" not in style.value[7:-8]


def test_a_panel_that_moves_makes_no_widgets():
    view = Counter()
    before = len(widget._instances)
    for value in (1, 2, 3):
        view.slider.value = value
        view.message.say(value)
    assert len(widget._instances) == before


def test_messages_are_escaped_joined_and_cleared():
    message, attack = panel.Message(), "<img src=x onerror=alert(1)> & more."
    message.say(attack)
    assert message.value == f'<span role="alert">{html.escape(attack)}</span>'
    message.add("Second.")
    assert re.findall(r"<(\w+)", message.value) == ["span", "br", "span"] and message.value.endswith("Second.</span>")
    message.say("Saved.", role="status")
    assert message.value == '<span role="status">Saved.</span>'
    message.say()
    assert message.value == ""
    message.add("First.")
    assert "<br>" not in message.value and "lhd-message" in message._dom_classes
    assert panel.alone(attack).value == f'<span role="alert">{html.escape(attack)}</span>'


def test_every_control_has_words_for_its_name():
    controls = [
        panel.dropdown("level", ["a"]),
        panel.number("opacity", 0.5, 0, 1, 0.1),
        panel.switch("outline"),
    ]
    assert [control.description for control in controls] == ["level", "opacity", "outline"]
    assert panel.dropdown("level", "abc").value == "a" and panel.dropdown("level", "abc", value="c").value == "c"
    assert panel.dropdown("level", []).value is None
