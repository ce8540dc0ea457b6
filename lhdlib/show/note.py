"""A radiologist's note with its findings marked."""

import html
from itertools import groupby

import numpy as np

from lhdlib.data import reports

MARKS = ("", "background:#dde3ea;color:#222", "background:#ffd45e;color:#222")  # no finding, another disc's, this one's


def marked_note(note: str, level: str) -> str:
    """Note as HTML with the words of its findings marked, denied ones struck.

    Findings at `level`, or at no level, are marked more strongly than those of other discs.
    """
    strength, denied = np.zeros(len(note), int), np.zeros(len(note), bool)
    for finding in reports.parse_report(note):
        words = slice(finding.start, finding.end)
        strength[words] = np.maximum(strength[words], 2 if finding.level in (level, None) else 1)
        denied[words] |= finding.negated
    parts = []
    for (mark, struck), run in groupby(range(len(note)), key=lambda at: (strength[at], denied[at])):
        places = list(run)
        text = html.escape(note[places[0] : places[-1] + 1]).replace("\n", "<br>")
        text = f"<s>{text}</s>" if struck else text
        parts.append(f'<span style="{MARKS[mark]}">{text}</span>' if mark else text)
    return "".join(parts)
