"""Soft-edged shapes, and the signals of tissues: how a structure is laid over what lies behind it."""

from typing import NamedTuple, TypeAlias

import numpy as np

Field: TypeAlias = np.ndarray | np.floating | float  #: a value at each point, or one for all
Signal: TypeAlias = tuple[Field, Field]  #: in T1 and in T2


class Grain(NamedTuple):
    """Smooth noise of unit variance at each point, on three scales."""

    coarse: np.ndarray
    middle: np.ndarray
    fine: np.ndarray


# Relative signal in T1 and T2 weighted turbo spin echo; subcutaneous fat on T1 is 1.
TISSUE: dict[str, tuple[float, float]] = {
    "fat": (1.00, 0.84),
    "muscle": (0.43, 0.20),
    "marrow": (0.68, 0.57),
    "cortex": (0.07, 0.05),
    "csf": (0.20, 1.10),
    "nerve": (0.36, 0.30),
    "cord": (0.40, 0.40),
    "annulus": (0.30, 0.11),
    "nucleus": (0.33, 0.62),
    "hernia": (0.33, 0.17),
    "tear": (0.34, 0.95),
    "ligament": (0.12, 0.07),
    "interspinous": (0.62, 0.42),
    "cartilage": (0.30, 0.60),
    "vein": (0.45, 0.85),
    "kidney": (0.36, 0.50),
    "bowel": (0.36, 0.32),
    "vessel": (0.07, 0.05),
    "skin": (0.45, 0.20),
    "air": (0.0, 0.0),
}


def paint(image: np.ndarray, share: Field, tissue: str | Signal) -> None:
    """Blend a tissue into T1 and T2 maps ``(2, ...)`` in place: nothing where `share` is 0, all of it where it is 1."""
    for channel, signal in zip(image, TISSUE[tissue] if isinstance(tissue, str) else tissue, strict=True):
        channel += share * (np.asarray(signal, np.float32) - channel)


def cover(distance: Field, soft: float) -> np.ndarray:
    """Share of a point inside a shape, from the signed distance to its edge (negative inside).

    The edge is `soft` millimetres wide.
    """
    return np.clip(0.5 - distance / soft, 0, 1)


def ramp(values: Field, start: float, length: float) -> np.ndarray:
    """Rise from 0 at `start` to 1 a `length` later."""
    return np.clip((values - start) / length, 0, 1)


def between(values: Field, low: float, high: float, soft: float) -> np.ndarray:
    """Soft indicator of ``low < values < high``."""
    return np.clip((values - low) / soft + 0.5, 0, 1) * np.clip((high - values) / soft + 0.5, 0, 1)


def ellipse(
    u: Field, v: Field, centre: tuple[Field, Field], radii: tuple[Field, Field], *, turn: float = 0.0
) -> np.ndarray:
    """Approximate signed distance to an ellipse, turned by `turn` radians from u towards v."""
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    du, dv = (axis - np.asarray(middle, np.float32) for axis, middle in zip((u, v), centre, strict=True))
    ru, rv = (np.asarray(radius, np.float32) for radius in radii)
    r = np.sqrt(((c * du + s * dv) / ru) ** 2 + ((c * dv - s * du) / rv) ** 2)
    return (r - 1) * np.minimum(ru, rv)


def oval(u: Field, v: Field, squareness: float) -> np.ndarray:
    """Relative radius in an oval of unit half axes, 1 on its outline; squareness 0 is the circle."""
    uu, vv = u**2, v**2
    return np.sqrt(uu + vv - squareness * uu * vv / (uu + vv + 1e-6))
