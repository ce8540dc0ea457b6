"""A radiologist's note with its findings marked, or the rows that a patient has in a table of one's own labels."""

import html
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from lhdlib.data import own_labels, reports

MARKS = ("", "background:#dde3ea;color:#222", "background:#ffd45e;color:#222")  # no finding, another disc's, this one's


def runs(note: str, level: str) -> list[tuple[str, int, bool]]:
    """Pieces of a note: text, how strongly it is marked (place in `MARKS`), and whether it is denied.

    Findings at `level`, or at no level, are marked more strongly than those of other discs; so are rows of one's own
    labels.
    """
    if own_labels.is_text(note):
        marks = {True: 2, False: 1}
        lines = note.splitlines(keepends=True)
        return [(lines[0], 0, False), *((line, marks[line.startswith(f"{level}:")], False) for line in lines[1:])]
    strength, denied = np.zeros(len(note), int), np.zeros(len(note), bool)
    for finding in reports.parse_report(note):
        words = slice(finding.start, finding.end)
        strength[words] = np.maximum(strength[words], 2 if finding.level in (level, None) else 1)
        denied[words] |= finding.negated
    pieces = []
    for (mark, struck), run in groupby(range(len(note)), key=lambda at: (int(strength[at]), bool(denied[at]))):
        places = list(run)
        pieces.append((note[places[0] : places[-1] + 1], mark, struck))
    return pieces


def marked_note(note: str, level: str) -> str:
    """Note as HTML with the words of its findings marked (`runs`), denied ones struck."""
    parts = []
    for piece, mark, struck in runs(note, level):
        text = html.escape(piece).replace("\n", "<br>")
        text = f"<s>{text}</s>" if struck else text
        parts.append(f'<span style="{MARKS[mark]}">{text}</span>' if mark else text)
    return "".join(parts)


def telling(notes: Sequence[str], levels: Sequence[str]) -> int:
    """Which of the notes has the most kinds of marks; of several, the shortest."""
    kinds = [len({(mark, struck) for _, mark, struck in runs(*one)}) for one in zip(notes, levels, strict=True)]
    return min(range(len(notes)), key=lambda number: (-kinds[number], len(notes[number])))
