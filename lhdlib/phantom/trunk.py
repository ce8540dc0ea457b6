"""The trunk around the spine: muscles, fat, pelvis, organs and skin, from the back of the picture to its front.

Above each function stands the table of its dimensions: millimetres in the disc's frame (see `segment`), where the
comment names no other unit; a "share" has none. Six values are by level, from L5-S1 upwards.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lhdlib.phantom.anatomy import Patient
from lhdlib.phantom.painting import TISSUE, Field, Grain, Signal, between, cover, ellipse, oval, paint, ramp


def by_level(position: Field, values: tuple[float, ...]) -> np.ndarray:
    """Value at positions along the spine (0 is L5-S1, 1 is L4-L5, ...), linear between the levels."""
    return np.asarray(np.interp(position, np.arange(len(values)), values), np.float32)


class Waviness:
    """How the texture bends outlines: shifts of u and v per unit of grain."""

    u_middle, u_coarse, v_coarse = 1.2, 1.5, 1.5


class Septa:
    """Thin sheets where the middle grain, roughened by the fine one, passes zero; no unit."""

    roughness, sharpness = 0.4, 5.0


@dataclass(frozen=True)
class Section:
    """Points of a plane through the trunk, and the maps painted there."""

    image: np.ndarray  #: (2, ...) T1 and T2, painted in place
    u: np.ndarray
    v: np.ndarray
    position: Field  #: along the spine: 0 at L5-S1, 1 at L4-L5, ...
    patient: Patient
    infiltration: float  #: share of the back muscles that is fat
    grain: Grain
    soft: float  #: width of an edge

    def paint(self, share: Field, tissue: str | Signal) -> None:
        """Blend a tissue into the maps."""
        paint(self.image, share, tissue)

    def cover(self, distance: Field) -> np.ndarray:
        """Share of each point inside a shape."""
        return cover(distance, self.soft)

    def by_level(self, values: tuple[float, ...]) -> np.ndarray:
        """Value at this height of the spine."""
        return by_level(self.position, values)

    @cached_property
    def level(self) -> np.ndarray:
        """Position along the spine, in the precision of the maps."""
        return np.asarray(self.position, np.float32)

    @cached_property
    def wavy_u(self) -> np.ndarray:
        """u, bent by the texture."""
        return self.u + Waviness.u_middle * self.grain.middle + Waviness.u_coarse * self.grain.coarse

    @cached_property
    def wavy_v(self) -> np.ndarray:
        """v, bent by the texture."""
        return self.v + Waviness.v_coarse * self.grain.coarse

    @cached_property
    def side(self) -> np.ndarray:
        """Distance from the bent midline, the same for left and right."""
        return np.abs(self.wavy_u)

    @cached_property
    def septa(self) -> np.ndarray:
        """Share of each point in a septum."""
        return np.clip(1 - np.abs(self.grain.middle + Septa.roughness * self.grain.fine) * Septa.sharpness, 0, 1)

    @cached_property
    def above_pelvis(self) -> np.ndarray:
        """1 above the iliac crest, 0 below it."""
        return np.clip((self.level - Pelvis.crest) * Pelvis.crest_sharpness, 0, 1)


def paint_trunk(
    u: np.ndarray,
    v: np.ndarray,
    position: Field,
    patient: Patient,
    infiltration: float,
    grain: Grain,
    soft: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Paint all but the spine.

    Parameters
    ----------
    position : float or array
        Height along the spine: 0 at L5-S1, 1 at L4-L5, ...
    infiltration : float
        Share of the back muscles that is fat.

    Returns
    -------
    image : (2, ...) float32
        T1 and T2 signal.
    depth : (...) float32
        Millimetres below the skin, negative in the air.
    """
    u, v = np.broadcast_arrays(u, v)
    section = Section(np.empty((2, *u.shape), np.float32), u, v, position, patient, infiltration, grain, soft)
    for structure in (fat, bowel, kidneys, great_vessels, quadratus, pelvis, psoas, back_muscles):
        structure(section)
    for channel in section.image:
        channel *= 1 + FINE_CONTRAST * grain.fine
    return section.image, skin(section)


FINE_CONTRAST = 0.042  # of the signal, per unit of fine grain


class Fat:
    """Fat that fills the trunk; shares of the signal."""

    contrast, septa = 0.03, 0.2


def fat(at: Section) -> None:
    """Fat everywhere, crossed by septa."""
    for channel, signal in zip(at.image, TISSUE["fat"], strict=True):
        channel[:] = signal * (1 + Fat.contrast * at.grain.coarse)
    at.paint(Fat.septa * at.septa, "muscle")


class Belly:
    """Where bowel lies; the coarse grain decides where a loop and where gas is."""

    front, beside, fade = 0.0, 52.0, 12.0
    loop, gas, sharpness = -0.4, 1.6, 2.0  # coarse grain above the one, below minus the other; no unit


def bowel(at: Section) -> None:
    """Loops of bowel, some with gas."""
    coarse = at.grain.coarse
    belly = ramp(-at.wavy_v, -Belly.front, Belly.fade) * ramp(at.side, Belly.beside, Belly.fade)
    at.paint(belly * np.clip(Belly.sharpness * (coarse - Belly.loop), 0, 1), "bowel")
    at.paint(belly * np.clip(Belly.sharpness * (-coarse - Belly.gas), 0, 1), "vessel")


class Kidney:
    """Kidney with its fatty sinus; it grows from `lowest` over `grows_over` levels, from the share `smallest`."""

    centre, radii, turn = (69.0, -9.0), (20.0, 28.0), 0.35  # radians
    lowest, grows_over, smallest = 2.2, 0.8, 0.02
    sinus, unevenness, sinus_soft, sinus_opacity = 14.0, 2.0, 3.0, 0.9  # the opacity is a share


def kidneys(at: Section) -> None:
    """Kidneys, in the upper levels."""
    k = Kidney
    size = np.clip((at.level - k.lowest) / k.grows_over, k.smallest, 1)
    if np.any(size > k.smallest):
        kidney = ellipse(at.side, at.wavy_v, k.centre, (k.radii[0] * size, k.radii[1] * size), turn=k.turn)
        at.paint(at.cover(kidney), "kidney")
        sinus = kidney + k.sinus * size + k.unevenness * at.grain.fine
        at.paint(k.sinus_opacity * cover(sinus, k.sinus_soft), "fat")


class Vessels:
    """Aorta and inferior vena cava, which divide in front of L4-L5; `fork` is in levels, then millimetres a level."""

    fork, spread = 1.3, 16.0
    aorta, aorta_radius = (6.0, -45.0), 8.0
    cava, cava_radius = (-12.0, -42.0), 9.0


def great_vessels(at: Section) -> None:
    """Aorta and inferior vena cava."""
    apart = np.clip(Vessels.fork - at.level, 0, 1) * Vessels.spread
    (aorta, aorta_v), (cava, cava_v) = Vessels.aorta, Vessels.cava
    for centre, radius in (
        ((aorta + apart, aorta_v), Vessels.aorta_radius),
        ((cava - apart, cava_v), Vessels.cava_radius),
    ):
        at.paint(at.cover(ellipse(at.wavy_u, at.wavy_v, centre, (radius, radius))), "vessel")


class Quadratus:
    """Quadratus lumborum; half depth by level, the radii before the patient's scale where it says so."""

    centre, half_width, half_depth, turn = (72.0, 6.0), 30.0, (8, 9, 9, 8, 6, 4), 0.15  # radians


def quadratus(at: Section) -> None:
    """Quadratus lumborum, above the iliac crest."""
    if np.any(at.above_pelvis > 0):
        radii = Quadratus.half_width * at.patient.muscle_scale, at.by_level(Quadratus.half_depth)
        muscle = ellipse(at.side, at.wavy_v, Quadratus.centre, radii, turn=Quadratus.turn)
        at.paint(at.cover(muscle) * at.above_pelvis, "muscle")


class Pelvis:
    """Iliac wing, an oblique plate that spreads upwards, between the muscles before and behind it."""

    crest, crest_sharpness = 1.0, 6.0  # levels above L5-S1; per level
    side, middle = 62.0, 18.0  # u and v about which the wing is turned
    spread, spread_from = 34.0, 0.1  # sideways per level, and from which level on
    cos, sin = 0.5, 0.866  # the wing stands at 60 degrees
    curve, curve_at = 0.004, 10.0  # per millimetre, and v of its flattest point
    iliacus, iliacus_along, iliacus_fades = (-22.0, -7.0), (4.0, 75.0), (4.0, 8.0)  # across, along the wing
    gluteal, gluteal_along, gluteal_fades = (6.0, 42.0), (-8.0, 75.0), (3.0, 5.0)
    unevenness, half_thickness, thinner, thinnest, thickest = 0.3, 8.5, 0.07, 3.5, 8.0  # thinner: a share
    cortex, cortex_along, marrow_along, fade = 1.6, (-12.0, 90.0), (-10.0, 90.0), 4.0


def pelvis(at: Section) -> None:
    """Iliac wings, with the iliacus before and the gluteal muscles behind them."""
    p, below = Pelvis, 1 - at.above_pelvis
    if not np.any(at.above_pelvis < 1):
        return
    out = np.abs(at.u) - p.side - p.spread * np.clip(at.level - p.spread_from, 0, None)
    along = p.cos * out - p.sin * (at.v - p.middle)
    across = p.sin * out + p.cos * (at.v - p.middle) + p.curve * (at.v - p.curve_at) ** 2
    for place, extent, fades in (
        (p.iliacus, p.iliacus_along, p.iliacus_fades),
        (p.gluteal, p.gluteal_along, p.gluteal_fades),
    ):
        at.paint(between(across, *place, fades[0]) * between(along, *extent, fades[1]) * below, "muscle")
    half = np.clip(p.half_thickness - p.thinner * np.abs(along), p.thinnest, p.thickest)
    wing = np.abs(across + p.unevenness * at.grain.coarse) - half
    at.paint(at.cover(wing) * between(along, *p.cortex_along, p.fade) * below, "cortex")
    at.paint(at.cover(wing + p.cortex) * between(along, *p.marrow_along, p.fade) * below, "marrow")


class Psoas:
    """Psoas by level; the radii are before the patient's scale."""

    side, middle = (47, 42, 38, 34, 30, 27), (-23, -18, -15, -13, -11, -10)
    half_width, half_depth, turn = (14, 17, 14, 10.5, 7, 4.5), (18, 20, 19, 17, 15, 12), -0.2  # radians


def psoas(at: Section) -> None:
    """Psoas muscles, beside the vertebrae."""
    scale = at.patient.muscle_scale
    radii = scale * at.by_level(Psoas.half_width), scale * at.by_level(Psoas.half_depth)
    centre = at.by_level(Psoas.side), at.by_level(Psoas.middle)
    at.paint(at.cover(ellipse(at.side, at.wavy_v, centre, radii, turn=Psoas.turn)), "muscle")


class Erector:
    """Erector spinae and multifidus as one rounded outline by level, before the patient's scale."""

    middle, half_depth = (39, 37, 35, 32, 29, 28), (21, 24, 25, 22, 19, 17)  # v
    side, half_width = (28, 33, 36, 39, 40, 38), (27, 32, 35.5, 39, 40, 38)
    slope, unevenness, squareness = 0.1, 0.6, 0.2  # slope and squareness are shares
    midline = 3.2  # no muscle is nearer to the midline
    fat_around, fascia_at, fascia_half, fascia_opacity = 1.5, 0.4, 0.4, 0.4  # the opacity is a share


class Creep:
    """Fat among the back muscles, as a share: most of it in the multifidus, near the lamina."""

    multifidus, behind, width = 13.0, 8.0, 13.0  # side; before the muscles' middle; of the bell about them
    everywhere, medial, coarse = 0.35, 1.3, 0.35
    septa, septa_coarse, septa_creep = 0.2, 0.25, 1.6
    roughness, streak, streak_creep, streak_sharpness, streak_most = 0.6, 2.5, 2.8, 0.8, 0.85


def back_muscles(at: Section) -> None:
    """Erector spinae and multifidus in their fascia, streaked with fat."""
    e, c, scale = Erector, Creep, at.patient.muscle_scale
    coarse, middle, fine = at.grain
    middle_v, half_depth = back_outline(at)
    from_middle = at.side - at.by_level(e.side) * scale
    across = from_middle / (at.by_level(e.half_width) * scale)
    along = (at.v + e.slope * from_middle + e.unevenness * coarse - middle_v) / half_depth
    muscle = np.maximum((oval(across, along, e.squareness) - 1) * half_depth, e.midline - at.side)
    at.paint(at.cover(muscle - e.fat_around), "fat")
    at.paint(at.cover(np.abs(muscle - e.fascia_at) - e.fascia_half) * e.fascia_opacity, "ligament")
    inside = at.cover(muscle)
    at.paint(inside, "muscle")
    medial = np.exp(-(((at.side - c.multifidus) / c.width) ** 2) - ((at.v - middle_v + c.behind) / c.width) ** 2)
    creep = at.infiltration * (c.everywhere + c.medial * medial) + c.coarse * coarse * at.infiltration
    sheets = np.clip(c.septa + c.septa_coarse * coarse + c.septa_creep * creep, 0, 1)
    at.paint(inside * at.septa * sheets, "fat")
    streaks = (middle + c.roughness * fine - c.streak + c.streak_creep * creep) * c.streak_sharpness
    at.paint(inside * np.clip(streaks, 0, c.streak_most), "fat")


def back_outline(at: Section) -> tuple[np.ndarray, np.ndarray]:
    """V of the middle of the back muscles, and their half depth."""
    scale = at.patient.muscle_scale
    return at.by_level(Erector.middle) * scale, at.by_level(Erector.half_depth) * scale


class Skin:
    """Back of the trunk, behind muscles and subcutaneous fat."""

    fat_by_level = (1.3, 1.15, 1, 0.85, 0.7, 0.6)  # shares of the patient's fat
    behind = 3.0
    bend, bend_at = (6, 10, 14, 18, 20, 20), 110.0  # by level: so far forwards at this u
    furrow, furrow_width, unevenness = 4.0, 14.0, 0.3
    outside, inside, soft, opacity = -1.0, 1.6, 1.0, 0.8  # depths; the opacity is a share


def skin(at: Section) -> np.ndarray:
    """Skin and the air behind it; returns the depth below the skin."""
    middle, half_depth = back_outline(at)
    back = middle + half_depth + at.patient.fat_thickness * at.by_level(Skin.fat_by_level) + Skin.behind
    bend = (at.u / Skin.bend_at) ** 2 * at.by_level(Skin.bend)
    furrow = Skin.furrow * np.exp(-((at.u / Skin.furrow_width) ** 2))
    depth = back - bend - furrow + Skin.unevenness * at.grain.coarse - at.v
    at.paint(Skin.opacity * between(depth, Skin.outside, Skin.inside, Skin.soft), "skin")
    at.paint(at.cover(depth), "air")
    return depth
