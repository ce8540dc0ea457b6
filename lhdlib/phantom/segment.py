"""Outlines about one disc that several structures share, in the disc's frame.

The frame: u to the patient's left, v backwards, w upwards, in millimetres from the middle of the posterior disc
margin. The tables hold dimensions: millimetres, where the comment names no other unit; a "share" has none.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lhdlib.phantom.anatomy import Disc, Patient
from lhdlib.phantom.disease import LEVELS, Displacement
from lhdlib.phantom.painting import TISSUE, Field, Grain, Signal, cover, oval, paint, ramp


class Outline:
    """Disc and vertebral bodies from above."""

    squareness = 0.3  # share
    dent = 11.0  # half width of the posterior concavity
    rim, dome = 0.86, 0.24  # shares of the disc's height: at its margin, and what its centre has more
    wedge, wedge_end = 0.012, 20.0  # share of the height lost per millimetre backwards, up to here from the centre
    plate_soft = 0.9
    waist, waist_at = 1.8, 9.0  # how much narrower a body becomes, and how far from its end plate
    sacrum_slope, sacrum_from, sacrum_over = 0.35, 14.0, 40.0  # share; below the disc


class Gable:
    """Roof of the canal, from which ligamentum flavum and laminae take their shape."""

    behind_sac = 3.2
    slope = 0.62  # share: forwards per millimetre sideways
    steepness = 0.85  # share: a distance across the roof per one along v
    upper_from, lower_from, fade = -3.0, 9.0, 4.0  # the upper vertebra's arch hangs down to the disc


class Sac:
    """Thecal sac."""

    squareness = 0.45  # share
    taper_lower, taper_upper = 0.32, 0.15  # share: narrower behind; in the two lowest levels, and above
    sacral, sacral_over = 0.25, 14.0  # share: narrower in the sacrum, reached so far below the disc
    shift, squeeze, yielding = 0.55, 0.4, 0.4  # shares: of the push; of the push; of the reach
    dura = 0.7


class Canal:
    """Spinal canal, under its gable."""

    half_width, front = 12.5, -1.0


class Reach:
    """How far displaced material leaves the disc."""

    beyond_plates = 3.0  # above and below the disc
    bulge_from, bulge_over = -2.0, 8.0  # a bulge grows backwards from the disc's centre
    # shares of the depth that the neck of extruded material has, and of its width
    neck_depth, neck_width = {"extrusion": 0.55, "sequestration": 0.3}, 0.8


@dataclass(frozen=True)
class Segment:
    """Points about one disc, the maps painted there, and the outlines that several structures share."""

    image: np.ndarray  #: (2, ...) T1 and T2, painted in place
    u: np.ndarray
    v: np.ndarray
    w: np.ndarray
    disc: Disc
    patient: Patient
    grain: Grain
    soft: float  #: width of an edge

    def paint(self, share: Field, tissue: str | Signal) -> None:
        """Blend a tissue into the maps."""
        paint(self.image, share, tissue)

    def cover(self, distance: Field) -> np.ndarray:
        """Share of each point inside a shape."""
        return cover(distance, self.soft)

    @cached_property
    def side(self) -> np.ndarray:
        """Distance from the midline, the same for left and right."""
        return np.abs(self.u)

    @cached_property
    def level(self) -> int:
        """Levels above L5-S1."""
        return LEVELS.index(self.disc.level)

    @cached_property
    def marrow(self) -> tuple[float, float]:
        """Signal of the patient's marrow."""
        t1, t2 = TISSUE["marrow"]
        return t1 * self.patient.marrow, t2 * self.patient.marrow

    @cached_property
    def _dented(self) -> np.ndarray:
        """V from the disc's centre, as if its posterior margin were not concave."""
        half_depth = self.disc.half_depth
        posterior = ramp(self.v, -half_depth, half_depth)
        return self.v + self.disc.concavity * np.exp(-((self.u / Outline.dent) ** 2)) * posterior + half_depth

    @cached_property
    def radius(self) -> np.ndarray:
        """Relative distance from the disc's centre, 1 at its margin."""
        return oval(self.u / self.disc.half_width, self._dented / self.disc.half_depth, Outline.squareness) + 1e-6

    @cached_property
    def margin(self) -> np.ndarray:
        """Signed distance to the disc's margin, seen from above."""
        return np.sqrt(self.u**2 + self._dented**2) * (self.radius - 1) / self.radius

    @cached_property
    def from_plate(self) -> np.ndarray:
        """Height above the upper end plate or below the lower one, negative in the disc: concave and wedged."""
        dome = Outline.rim + Outline.dome * np.clip(1 - self.radius**2, 0, 1)
        back = np.clip(self.v + self.disc.half_depth, -Outline.wedge_end, Outline.wedge_end)
        return np.abs(self.w) - self.disc.height / 2 * dome * (1 - Outline.wedge * back)

    @cached_property
    def in_disc(self) -> np.ndarray:
        """Share of each point between the end plates."""
        return cover(self.from_plate, Outline.plate_soft)

    @cached_property
    def body(self) -> np.ndarray:
        """Signed distance to the side of a vertebral body, which has a waist; the sacrum narrows downwards."""
        body = self.margin + Outline.waist * ramp(self.from_plate, 0, Outline.waist_at)
        if self.level > 0:
            return body
        return body + Outline.sacrum_slope * np.clip(-self.w - Outline.sacrum_from, 0, Outline.sacrum_over)

    @cached_property
    def back_of_sac(self) -> float:
        """V where the thecal sac ends behind."""
        return self.disc.gap + 2 * self.disc.sac[1]

    @cached_property
    def behind_roof(self) -> np.ndarray:
        """Distance behind the gable that closes the canal."""
        return (self.v - (self.back_of_sac + Gable.behind_sac - Gable.slope * self.side)) * Gable.steepness

    @cached_property
    def arch(self) -> np.ndarray:
        """1 at the height of a vertebra's arch, 0 between the upper and the lower one's."""
        upper, lower = ramp(self.w, Gable.upper_from, Gable.fade), ramp(-self.w, Gable.lower_from, Gable.fade)
        return np.maximum(upper, lower)

    @cached_property
    def canal(self) -> np.ndarray:
        """Signed distance to the wall of the spinal canal."""
        return np.maximum(np.maximum(self.behind_roof, self.side - Canal.half_width), Canal.front - self.v)

    @cached_property
    def _push(self) -> Field:
        """How far displaced material pushes the sac backwards."""
        beyond = reach(self.disc.displacement, self.disc, np.zeros_like(self.u), np.float32(0), self.w)
        return beyond * Sac.yielding

    @cached_property
    def in_sac(self) -> np.ndarray:
        """Where a point lies between the front (−1) and the back (1) of the thecal sac."""
        half_depth = self.disc.sac[1]
        shifted = self.v - self.disc.gap - half_depth - Sac.shift * self._push
        return shifted / (half_depth - Sac.squeeze * self._push)

    @cached_property
    def sac(self) -> np.ndarray:
        """Signed distance to the thecal sac."""
        half_width, half_depth = self.disc.sac
        taper = Sac.taper_lower if self.level < 2 else Sac.taper_upper
        sacral = Sac.sacral if self.level == 0 else 0.0
        narrowed = half_width * (1 - taper * np.clip(self.in_sac, -1, 1))
        narrowed = narrowed * (1 - sacral * ramp(-self.w, 0, Sac.sacral_over))
        return (oval(self.u / narrowed, self.in_sac, Sac.squareness) - 1) * half_depth


def reach(displacement: Displacement, disc: Disc, u: Field, v: Field, w: Field) -> np.ndarray:
    """Millimetres by which disc material exceeds the normal margin, backwards."""
    profile = np.sqrt(np.clip(1 - (w / np.float32(disc.height / 2 + Reach.beyond_plates)) ** 2, 0, 1))
    if displacement.kind == "bulge":
        return displacement.depth * profile * ramp(v + disc.half_depth, Reach.bulge_from, Reach.bulge_over)
    share = Reach.neck_depth.get(displacement.kind)
    width = displacement.width * (Reach.neck_width if share else 1)
    dome = np.sqrt(np.clip(1 - (2 * (u - displacement.centre) / width) ** 2, 0, 1)) * (v > -disc.half_depth)
    return np.float32((share or 1) * displacement.depth) * profile * dome
