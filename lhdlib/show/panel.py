"""The skeleton of the four widgets: a column of labelled controls, a picture, a caption, and a line for messages.

The state of a panel is the values of its controls; one method, `Panel.refresh`, draws everything from them.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ipywidgets as widgets
import numpy as np
import pandas as pd

STYLE = f"<style>\n{Path(__file__).with_suffix('.css').read_text(encoding='utf-8')}</style>"
SCRIPT = {"application/javascript": Path(__file__).with_suffix(".js").read_text(encoding="utf-8")}
Described = TypeVar("Described", bound=widgets.DOMWidget)


class Panel(widgets.VBox):
    """A widget that is drawn anew whenever one of its controls changes.

    Parameters
    ----------
    name : str
        The panel's class in the page is ``lhd-<name>``.
    lines : sequence of widgets
        From top to bottom.
    parts : widget
        By name: each gets the class ``lhd-<part>``, for style and tests.
    """

    def __init__(self, name: str, lines: Sequence[widgets.Widget], **parts: widgets.DOMWidget):
        self._drawing = False
        script = {"output_type": "display_data", "data": SCRIPT, "metadata": {}}
        hidden = [widgets.HTML(STYLE), widgets.Output(outputs=(script,))]
        super().__init__([*hidden, *lines])
        for widget in hidden:
            widget.add_class("lhd-hidden")
        for part, widget in parts.items():
            widget.add_class(f"lhd-{part}")
        self.add_class("lhd-panel").add_class(f"lhd-{name}")

    def refresh(self, changed: widgets.Widget | None = None) -> None:
        """Draw what the controls say; `changed` is the control that was moved, None when all is new."""
        raise NotImplementedError

    def follow(self, controls: Iterable[widgets.Widget]) -> None:
        """Refresh whenever one of the controls changes, but not for what a refresh itself changes."""
        for control in controls:
            control.observe(lambda change: self.update(change["owner"]), "value")

    def update(self, changed: widgets.Widget | None = None) -> None:
        """`refresh`, unless one is under way."""
        if self._drawing:
            return
        self._drawing = True
        try:
            self.refresh(changed)
        finally:
            self._drawing = False


class Message(widgets.HTML):
    """The line for messages: sentences below each other, announced by a screen reader as they appear."""

    def __init__(self) -> None:
        super().__init__()
        self.add_class("lhd-message")

    def say(self, text: object = "", *, role: str = "alert") -> None:
        """Show this sentence alone; an empty one clears the line. `role` "status" is for good news."""
        self.value = f'<span role="{role}">{html.escape(str(text))}</span>' if str(text) else ""

    def add(self, text: object) -> None:
        """Show a sentence below those already there."""
        earlier = self.value
        self.say(text)
        self.value = f"{earlier}<br>{self.value}" if earlier else self.value


def alone(error: object) -> Message:
    """A sentence in the place of a panel."""
    message = Message()
    message.say(error)
    return message


def facts_html(facts: Mapping[str, str]) -> str:
    """Table of names and values as HTML, escaped."""
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in facts.items())
    return f"<table>{rows}</table>"


# Labelled controls


def wrapped(*parts: widgets.Widget) -> widgets.HBox:
    """Widgets beside each other, in more lines where the page is narrow."""
    return widgets.HBox(parts, layout=widgets.Layout(flex_flow="row wrap"))


def wide(control: Described, width: int) -> Described:
    """The control, so many pixels wide."""
    control.layout.width = f"{width}px"
    return control


def dropdown(label: str, options: Iterable[Any], *, value: Any = None, width: int = 220) -> widgets.Dropdown:
    """A list to choose from, the first of its options chosen unless said otherwise."""
    options = list(options)
    chosen = {} if value is None else {"value": value}
    return wide(widgets.Dropdown(description=label, options=options, **chosen), width)


def offer(control: widgets.Dropdown, options: Iterable[tuple[str, Any]]) -> None:
    """Give a list other options, of words and value; the choice stays where it is still offered."""
    options = tuple(options)
    if control.options == options:
        return
    kept = control.value
    control.options = options  # chooses the first
    if kept in (value for _, value in options):
        control.value = kept


def counted(values: Iterable[str], found: pd.Series | np.ndarray, *, every: Any = "") -> list[tuple[str, Any]]:
    """Options of a list: all, then each value, with how often it is found; `every` is the value of "all"."""
    counts = pd.Series(found).value_counts()
    return [(f"all ({len(found)})", every), *((f"{value} ({counts.get(value, 0)})", value) for value in values)]


def number(
    label: str, value: float, low: float, high: float, step: float, *, width: int = 420, **options: Any
) -> widgets.FloatSlider:
    """A slider for a number; the options are those of `ipywidgets.FloatSlider`."""
    return wide(widgets.FloatSlider(description=label, value=value, min=low, max=high, step=step, **options), width)


def switch(label: str, *, value: bool = False) -> widgets.Checkbox:
    """A box to tick."""
    return widgets.Checkbox(description=label, value=value, indent=False)
