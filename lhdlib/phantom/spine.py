"""The spine about one disc, structure by structure from the back to the front, and what leaves the disc.

Above each function stands the table of its dimensions: millimetres in the disc's frame (see `segment`), where the
comment names no other unit; a "share" has none.
"""

import numpy as np

from lhdlib.phantom.anatomy import Disc, Patient
from lhdlib.phantom.disease import Displacement
from lhdlib.phantom.painting import TISSUE, Grain, between, cover, ellipse, ramp
from lhdlib.phantom.segment import Sac, Segment, reach


def paint_spine(
    image: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    w: np.ndarray,
    disc: Disc,
    patient: Patient,
    grain: Grain,
    soft: float,
) -> np.ndarray:
    """Paint vertebrae, disc, canal and what leaves the disc over `image` ``(2, ...)``, in place.

    Parameters
    ----------
    u, v, w : arrays
        The points, in the disc's frame.
    soft : float
        Width of an edge in millimetres, about a pixel.

    Returns
    -------
    (...) float32
        Share of each point that is displaced disc material or a tear, physiological or not.
    """
    segment = Segment(image, u, v, w, disc, patient, grain, soft)
    for structure in BACK_TO_FRONT:
        structure(segment)
    return np.maximum(displaced(segment), torn(segment))


# --- behind the canal -----------------------------------------------------------------------------------------------


class Compartment:
    """Fat about the spine, with an uneven edge."""

    centre, radii = (0.0, 9.0), (26.0, 15.0)
    unevenness, soft = 3.0, 3.0
    streak, streak_sharpness, streak_opacity = 0.3, 4.0, 0.55  # where middle and fine grain nearly cancel; a share


def compartment(at: Segment) -> None:
    """Fat around spine and foramina."""
    distance = ellipse(at.u, at.v, Compartment.centre, Compartment.radii)
    inside = cover(distance + Compartment.unevenness * at.grain.middle, Compartment.soft)
    at.paint(inside, "fat")
    streaks = (Compartment.streak - np.abs(at.grain.middle - at.grain.fine)) * Compartment.streak_sharpness
    at.paint(inside * np.clip(streaks, 0, Compartment.streak_opacity), "muscle")


class SpinousProcess:
    """A plate in the midline, a little thicker behind."""

    tip = (42, 47, 48, 46, 41, 37, 37, 37)  # v by level, from L5-S1 upwards, before the patient's scale
    behind_sac = 5.0
    half_width, widening, widens_from = 2.6, 0.05, 20.0  # the widening is a share
    unevenness, cortex = 0.3, 1.1
    streaks, ligament = 0.7, 0.5  # shares: contrast of the ligament's streaks, and their mean


def spinous_process(at: Segment) -> None:
    """Spinous processes, and the interspinous ligament between them."""
    p = SpinousProcess
    tip = np.float32(p.tip[at.level]) * at.patient.muscle_scale
    widening = p.widening * (at.v - p.widens_from)
    across = at.side - p.half_width - widening - p.unevenness * at.grain.middle
    process = np.maximum(across, np.maximum(at.back_of_sac + p.behind_sac - at.v, at.v - tip))
    inside = at.cover(process)
    at.paint(inside, "interspinous")
    at.paint(inside * np.clip(p.streaks * at.grain.fine + p.ligament, 0, 1) * (1 - at.arch), "ligament")
    at.paint(inside * at.arch, "cortex")
    at.paint(at.cover(process + p.cortex) * at.arch, at.marrow)


class Lamina:
    """Plate behind the ligamentum flavum."""

    middle, half_thickness, reach, cortex = 2.6, 2.9, 15.0, 1.3


def laminae(at: Segment) -> None:
    """Laminae of the upper and of the lower vertebra."""
    across = np.abs(at.behind_roof - at.disc.flavum - Lamina.middle) - Lamina.half_thickness
    lamina = np.maximum(across, at.side - Lamina.reach)
    at.paint(at.cover(lamina) * at.arch, "cortex")
    at.paint(at.cover(lamina + Lamina.cortex) * at.arch, at.marrow)


class Facet:
    """Facet joint: an ellipse for both processes, and the curved gap across it."""

    side, side_growth, before_back_of_sac = 16.5, 3.0, 1.0  # the growth is per unit of the disc's facet size
    radii, turn = (8.2, 6.6), 0.9  # for a facet size of 1; radians
    unevenness, cortex = 0.35, 1.5
    bottom, top, fade = -10.0, 7.0, 4.0  # w
    across_u, across_v, curve = 0.72, 0.69, 0.06  # direction across the gap, and its curve per millimetre
    marrow, gap, gap_opacity = 1.3, 0.4, 0.5  # marrow begins so far from the gap's middle; the opacity is a share


def facet_joints(at: Segment) -> None:
    """Facet joints at the height of the disc."""
    f, size = Facet, at.disc.facet
    side, back = f.side + f.side_growth * (size - 1), at.back_of_sac - f.before_back_of_sac
    radii = f.radii[0] * size, f.radii[1] * size
    facet = ellipse(at.side, at.v, (side, back), radii, turn=f.turn) + f.unevenness * at.grain.fine
    du = at.side - side
    across = np.abs(f.across_u * du + f.across_v * (at.v - back) - f.curve * du**2)
    height = between(at.w, f.bottom, f.top, f.fade)
    inside = at.cover(facet) * height
    at.paint(inside, "cortex")
    at.paint(at.cover(facet + f.cortex) * height * at.cover(f.marrow - across), at.marrow)
    at.paint(inside * at.cover(across - f.gap) * f.gap_opacity, "cartilage")


class Flavum:
    """Ligamentum flavum; its thickness is the disc's."""

    reach, under_arch = 13.0, 0.5  # the latter a share: how much weaker it is under an arch


def ligamentum_flavum(at: Segment) -> None:
    """Ligament that lines the roof of the canal."""
    half = at.disc.flavum / 2
    flavum = np.maximum(np.abs(at.behind_roof - half) - half, at.side - Flavum.reach)
    at.paint(at.cover(flavum) * (1 - Flavum.under_arch * at.arch), "ligament")


# --- canal ----------------------------------------------------------------------------------------------------------


def epidural_fat(at: Segment) -> None:
    """Fat that fills the canal."""
    at.paint(at.cover(at.canal), "fat")


def thecal_sac(at: Segment) -> None:
    """Dura and cerebrospinal fluid."""
    at.paint(at.cover(at.sac - Sac.dura), "ligament")
    at.paint(at.cover(at.sac), "csf")


class Cauda:
    """Roots in the sac: crests of a wavy grid, most of them behind."""

    inside = 0.5  # from the wall of the sac
    waves, bends, bend = (2.3, 2.5), (0.9, 1.1), (0.8, 0.7)  # of u and of v: radians per mm, twice, and radians
    unevenness, crest, contrast = 0.45, 0.25, 3.0  # of the grid, which has no unit
    behind, middle = 2.5, 0.9  # density: slope towards the back of the sac, and in its middle


def cauda_equina(at: Segment) -> None:
    """Nerve roots that float in the sac."""
    (pu, pv), (wu, wv), (bu, bv) = at.disc.phase, Cauda.waves, Cauda.bends
    along_u = np.sin(wu * at.u + pu + Cauda.bend[0] * np.sin(bu * at.v))
    along_v = np.sin(wv * at.v + pv + Cauda.bend[1] * np.sin(bv * at.u))
    grid = along_u * along_v + Cauda.unevenness * at.grain.fine
    roots = np.clip((grid - Cauda.crest) * Cauda.contrast, 0, 1)
    density = np.clip(at.in_sac * Cauda.behind + Cauda.middle, 0, 1)
    at.paint(at.cover(at.sac + Cauda.inside) * roots * density, "nerve")


class Cord:
    """Spinal cord, which ends at L1-L2."""

    lowest = 4  # levels above L5-S1
    depth, radii = 1.1, (4.4, 3.6)  # depth of its centre in half depths of the sac


def spinal_cord(at: Segment) -> None:
    """Cord, in the levels that have it."""
    if at.level >= Cord.lowest:
        centre = (0.0, at.disc.gap + Cord.depth * at.disc.sac[1])
        at.paint(at.cover(ellipse(at.u, at.v, centre, Cord.radii)), "cord")


class Root:
    """Nerve roots beside the sac; `recess` is (side, behind the gap)."""

    foramen, foramen_radii = (17.5, 4.5), (2.6, 2.2)
    bottom, top, fade = 0.0, 30.0, 4.0  # of the foramen
    recess, recess_radii = (10.8, 3.5), (1.6, 1.6)
    soft = 1.0


def nerve_roots(at: Segment) -> None:
    """The exiting roots in the foramina, and the roots of the next level in the lateral recesses."""
    foramen = ellipse(at.side, at.v, Root.foramen, Root.foramen_radii)
    at.paint(cover(foramen, Root.soft) * between(at.w, Root.bottom, Root.top, Root.fade), "nerve")
    recess = ellipse(at.side, at.v, (Root.recess[0], at.disc.gap + Root.recess[1]), Root.recess_radii)
    at.paint(cover(recess, Root.soft), "nerve")


# --- vertebrae and disc ---------------------------------------------------------------------------------------------


class Pedicle:
    """Bridge from body to arch; `depth` and `half_depth` are shares of the canal's depth."""

    inside_margin, depth, half_width, half_depth, cortex = 9.0, 0.3, 5.0, 0.75, 1.2
    below, above, fade = 2.0, 9.0, 3.0  # from the end plates


def pedicles(at: Segment) -> None:
    """Pedicles: the lower vertebra's close the canal below the disc, the upper one's well above it."""
    p, half_height = Pedicle, at.disc.height / 2
    centre = at.disc.half_width - p.inside_margin, p.depth * at.back_of_sac
    pedicle = ellipse(at.side, at.v, centre, (p.half_width, p.half_depth * at.back_of_sac))
    lower, upper = ramp(-at.w - half_height, p.below, p.fade), ramp(at.w - half_height, p.above, p.fade)
    height = np.maximum(lower, upper)
    at.paint(at.cover(pedicle) * height, "cortex")
    at.paint(at.cover(pedicle + p.cortex) * height, at.marrow)


class Body:
    """Vertebral body: cortex reaches so far out of its outline, marrow begins so far within."""

    cortex, marrow = 0.5, 0.7
    beside_disc = 0.7  # share: how much weaker the cortex is at the height of the disc
    mottling = (0.06, 0.05)  # shares of the signal, middle and fine grain


def vertebral_bodies(at: Segment) -> None:
    """Cortex and mottled marrow of the bodies above and below the disc."""
    at.paint(at.cover(at.body - Body.cortex) * (1 - Body.beside_disc * at.in_disc), "cortex")
    mottling = 1 + Body.mottling[0] * at.grain.middle + Body.mottling[1] * at.grain.fine
    t1, t2 = at.marrow
    at.paint(_marrow_space(at), (t1 * mottling, t2 * mottling))


def _marrow_space(at: Segment) -> np.ndarray:
    """Share of each point in the marrow of a vertebral body."""
    return at.cover(at.body + Body.marrow) * (1 - at.in_disc)


class EndPlate:
    """Dark plate that bounds the disc; `middle` is its distance into the body."""

    middle, half_thickness, soft, opacity = 0.5, 0.6, 0.8, 0.7  # the opacity is a share


def end_plates(at: Segment) -> None:
    """Upper and lower end plate."""
    plate = cover(np.abs(at.from_plate - EndPlate.middle) - EndPlate.half_thickness, EndPlate.soft)
    at.paint(at.cover(at.body) * plate * EndPlate.opacity, "cortex")


class Vein:
    """Basivertebral vein, a funnel that opens backwards from `front`."""

    front, half_width, opening, opens_over, soft = -8.0, 1.2, 0.25, 9.0, 1.2  # the opening is a share
    from_disc, fade, opacity = 4.0, 4.0, 0.8  # the opacity is a share


def basivertebral_vein(at: Segment) -> None:
    """Vein in the middle of the bodies."""
    opening = Vein.opening * np.clip(at.v - Vein.front, 0, Vein.opens_over)
    vein = np.maximum(np.abs(at.u) - Vein.half_width - opening, Vein.front - at.v)
    height = np.clip((np.abs(at.w) - at.disc.height / 2 - Vein.from_disc) / Vein.fade, 0, Vein.opacity)
    at.paint(cover(vein, Vein.soft) * _marrow_space(at) * height, "vein")


class Ala:
    """Wing of the sacrum, beside its body and outside the canal."""

    centre, radii, turn = (30.0, -5.0), (24.0, 13.0), -0.35  # radians
    below, fade, canal_soft = 2.0, 4.0, 1.0
    cortex, beside_body = 1.4, 0.5


def sacral_wings(at: Segment) -> None:
    """Wings of the sacrum, below L5-S1 only."""
    if at.level > 0:
        return
    ala = ellipse(at.side, at.v, Ala.centre, Ala.radii, turn=Ala.turn)
    place = ramp(-at.w - at.disc.height / 2, Ala.below, Ala.fade) * (1 - cover(at.canal, Ala.canal_soft))
    at.paint(at.cover(ala) * place * at.cover(-at.body), "cortex")
    at.paint(at.cover(ala + Ala.cortex) * place * at.cover(-at.body - Ala.beside_body), at.marrow)


class DiscTissue:
    """Inner annulus and nucleus; all are shares."""

    inner, contrast, sharpness, opacity = 0.86, 1.6, 3.0, 0.35  # inner annulus: relative radius, and how it fades in
    nucleus, nucleus_sharpness = 0.78, 4.0  # relative radius
    centre, half_depth = 1.05, 0.92  # of the nucleus, in half depths of the disc


def disc_tissue(at: Segment) -> None:
    """Annulus, inner annulus, and the nucleus, whose T2 signal is the disc's."""
    t, disc = DiscTissue, at.disc
    inside = at.cover(at.margin) * at.in_disc
    at.paint(inside, "annulus")
    at.paint(inside * np.clip(t.contrast * (t.inner - at.radius) * t.sharpness, 0, 1) * t.opacity, "hernia")
    along = (at.v + t.centre * disc.half_depth) / (t.half_depth * disc.half_depth)
    gel = np.clip((t.nucleus - np.sqrt((at.u / disc.half_width) ** 2 + along**2)) * t.nucleus_sharpness, 0, 1)
    dry, full = TISSUE["annulus"][1], TISSUE["nucleus"][1]
    at.paint(inside * gel, (TISSUE["nucleus"][0], dry + disc.nucleus * (full - dry)))


BACK_TO_FRONT = (
    compartment,
    spinous_process,
    laminae,
    facet_joints,
    ligamentum_flavum,
    epidural_fat,
    thecal_sac,
    cauda_equina,
    spinal_cord,
    nerve_roots,
    pedicles,
    vertebral_bodies,
    end_plates,
    basivertebral_vein,
    sacral_wings,
    disc_tissue,
)


# --- what leaves the disc ---------------------------------------------------------------------------------------------


class Hernia:
    """How material leaves the disc."""

    full = 1.2  # reach at which material is as dense as it gets
    fragment_height = 7.5  # half height of an extruded fragment
    fragment_in_disc = 0.5  # how far the fragment starts before the margin
    fragment_inside = 1.0
    ligament, opacity = 0.9, 0.6  # thickness of the posterior ligament that it carries with it; a share


def displaced(at: Segment) -> np.ndarray:
    """Disc material beyond the margin, under the ligament that it lifts; returns its share of each point."""
    displacement = at.disc.displacement
    if displacement.depth == 0:
        return np.zeros(at.image.shape[1:], np.float32)
    beyond = reach(displacement, at.disc, at.u, at.v, at.w)
    outer, present = at.margin - beyond, ramp(beyond, 0, Hernia.full)
    if displacement.migration:
        fragment = _fragment(at, displacement)
        outer = np.where(present > 0, np.minimum(outer, fragment), fragment)
        present = np.maximum(present, at.cover(fragment - Hernia.fragment_inside))
    body = at.cover(at.body)
    at.paint(np.clip(at.cover(outer - Hernia.ligament) - body, 0, 1) * present * Hernia.opacity, "ligament")
    share = np.clip(at.cover(outer) - body, 0, 1) * present
    t1, t2 = TISSUE["annulus"]
    at.paint(share, (t1, t2 * displacement.signal))
    return share


def _fragment(at: Segment, displacement: Displacement) -> np.ndarray:
    """Approximate signed distance to the ellipsoid of an extruded fragment, which has migrated up or down."""
    start = Hernia.fragment_in_disc
    r = np.sqrt(
        ((at.u - displacement.centre) / (displacement.width / 2)) ** 2
        + ((at.v - displacement.depth * 0.5 + start) / (displacement.depth * 0.5 + start)) ** 2
        + ((at.w - displacement.migration) / Hernia.fragment_height) ** 2
    )
    return (r - 1) * displacement.depth / 2


class Fissure:
    """Tear of the outer annulus."""

    before_margin, half_height, fade = 2.6, 4.0, 1.5


def torn(at: Segment) -> np.ndarray:
    """Bright spot in the posterior annulus, if it is torn; returns its share of each point."""
    tear = at.disc.tear
    if tear is None:
        return np.zeros(at.image.shape[1:], np.float32)
    centre = tear.centre, -at.disc.concavity - Fissure.before_margin
    spot = ellipse(at.u, at.v, centre, (tear.width / 2, tear.depth / 2))
    share = at.cover(spot) * between(at.w, -Fissure.half_height, Fissure.half_height, Fissure.fade)
    at.paint(share, "tear")
    return share
