"""Numbers in texts that are not as the format has them: read where there is one reading, and only there."""

import math
import re

DECORATION = re.compile(r"^[\[({'\"\s]+|[\])}'\"\s]+$")
UNIT = re.compile(r"\s*(mm|ms|msec|s)\.?$", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
WAYS = [(separator, decimal) for separator in ("\\", ";", ",", None) for decimal in ".,"]  # None: white space


def one_reading(text: str, count: int) -> list[float] | None:
    r"""So many numbers of a text, or None where it has none or several readings.

    Separators are ``\``, ``;``, ``,`` or spaces, decimals begin with a point or a comma, brackets, quotes and units
    may stand around. A lone ``1,500`` may be one or a thousand, so it is neither.
    """
    text = UNIT.sub("", DECORATION.sub("", text.replace("\0", " ").strip()))
    found = {tuple(numbers) for way in WAYS if (numbers := _numbers(text, *way)) and len(numbers) == count}
    if count == 1 and re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+", text):
        return None
    return list(found.pop()) if len(found) == 1 else None


def _numbers(text: str, separator: str | None, decimal: str) -> list[float] | None:
    if separator == decimal:
        return None
    numbers = []
    for piece in text.split(separator):
        piece = DECORATION.sub("", piece)
        if decimal == ",":
            if "." in piece:
                return None
            piece = piece.replace(",", ".")
        if not NUMBER.fullmatch(piece) or not math.isfinite(number := float(piece)):
            return None
        numbers.append(number)
    return numbers
