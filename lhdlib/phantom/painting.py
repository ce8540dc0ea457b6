"""Tissues of a patient on any plane: what each point of the body is made of."""

from typing import TypeAlias

import numpy as np

from lhdlib.phantom.anatomy import LEVELS, Disc, Lesion, Patient

Field: TypeAlias = np.ndarray | float

# Relative signal of a tissue in T1 and T2 weighted turbo spin echo; subcutaneous fat on T1 is 1.
TISSUE = {
    "fat": (1.00, 0.84),
    "muscle": (0.34, 0.15),
    "marrow": (0.50, 0.40),
    "cortex": (0.07, 0.05),
    "csf": (0.20, 1.10),
    "nerve": (0.36, 0.30),
    "cord": (0.40, 0.40),
    "annulus": (0.30, 0.11),
    "nucleus": (0.33, 0.62),
    "hernia": (0.33, 0.17),
    "tear": (0.34, 0.95),
    "ligament": (0.12, 0.07),
    "kidney": (0.36, 0.50),
    "bowel": (0.36, 0.32),
    "vessel": (0.07, 0.05),
    "skin": (0.45, 0.20),
    "air": (0.0, 0.0),
}


# --- painting -------------------------------------------------------------------------------------------------------


def _cover(distance: np.ndarray, soft: float) -> np.ndarray:
    """Share of a pixel inside a shape, from the signed distance to its edge (negative inside)."""
    return np.clip(0.5 - distance / soft, 0, 1)


def _paint(image: np.ndarray, cover: np.ndarray, tissue: str | tuple[float, float]) -> None:
    """Blend a tissue into the T1 and T2 maps ``(2, ...)`` in place."""
    for channel, signal in zip(image, TISSUE[tissue] if isinstance(tissue, str) else tissue, strict=True):
        channel += cover * (np.float32(signal) - channel)


def _ellipse(u: Field, v: Field, cu: Field, cv: Field, ru: Field, rv: Field, turn: float = 0) -> np.ndarray:
    """Approximate signed distance to an ellipse about (cu, cv) with half axes ru, rv."""
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    du, dv = u - np.float32(cu), v - np.float32(cv)
    r = np.sqrt(((c * du + s * dv) / np.float32(ru)) ** 2 + ((c * dv - s * du) / np.float32(rv)) ** 2)
    return (r - 1) * np.minimum(ru, rv).astype(np.float32)


def _between(values: np.ndarray, low: float, high: float, soft: float) -> np.ndarray:
    """Soft indicator of ``low < values < high``."""
    return np.clip((values - low) / soft + 0.5, 0, 1) * np.clip((high - values) / soft + 0.5, 0, 1)


def by_level(position: float | np.ndarray, values: tuple[float, ...]) -> np.ndarray:
    """Value at positions along the spine (0 is L5-S1, 1 is L4-L5, ...), linear between the levels."""
    return np.interp(position, np.arange(len(values)), values).astype(np.float32)


def periphery(
    u: np.ndarray,
    v: np.ndarray,
    position: float | np.ndarray,
    patient: Patient,
    infiltration: float,
    texture: list[np.ndarray],
    soft: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Paint all but the spine.

    Returns
    -------
    image : (2, ...) float32
        T1 and T2 signal.
    depth : (...) float32
        Millimetres below the skin, negative in the air.
    """
    coarse, middle, fine = texture
    u, v = np.broadcast_arrays(u, v)
    wu, wv = u + 1.2 * middle + 1.5 * coarse, v + 1.5 * coarse
    side = np.abs(wu)
    septa = np.clip(1 - np.abs(middle + 0.4 * fine) * 5, 0, 1)
    image = np.empty((2, *u.shape), np.float32)
    for channel, signal in zip(image, TISSUE["fat"], strict=True):
        channel[:] = signal * (1 + 0.02 * coarse)
    _paint(image, 0.08 * septa, "muscle")

    at = lambda *values: by_level(position, values)  # noqa: E731
    belly = np.clip((-22 - wv) / 8, 0, 1) * np.clip((side - 30) / 8, 0, 1)
    _paint(image, belly * np.clip(2 * (coarse - 0.5), 0, 1), "bowel")
    _paint(image, belly * np.clip(2 * (-coarse - 1.3), 0, 1), "vessel")
    size = np.clip((np.float32(position) - 2.2) / 0.8, 0.02, 1)
    if np.any(size > 0.02):
        kidney = _ellipse(side, wv, 69, -9, 20 * size, 28 * size, 0.35)
        _paint(image, _cover(kidney, soft), "kidney")
        _paint(image, 0.9 * _cover(kidney + 14 * size + 2 * fine, 3), "fat")
    # The aorta and the inferior vena cava divide in front of L4-L5.
    fork = np.clip(1.3 - np.float32(position), 0, 1) * 16
    for cu, cv, radius in ((6 + fork, -45, 8), (-12 - fork, -42, 9)):
        _paint(image, _cover(_ellipse(wu, wv, cu, cv, radius, radius), soft), "vessel")

    scale = patient.muscle_scale
    psoas = _ellipse(
        side,
        wv,
        at(47, 42, 38, 34, 30, 27),
        at(-23, -18, -15, -13, -11, -10),
        scale * at(14, 17, 14, 10.5, 7, 4.5),
        scale * at(18, 20, 19, 17, 15, 12),
        -0.2,
    )
    high = np.clip((np.float32(position) - 1) * 6, 0, 1)
    if np.any(high > 0):
        quadratus = _ellipse(side, wv, 72, 6, 30 * scale, at(8, 9, 9, 8, 6, 4), 0.15)
        _paint(image, _cover(quadratus, soft) * high, "muscle")
    if np.any(high < 1):
        # Iliac wing, oblique, with the iliacus before it and the gluteal muscles behind.
        out = np.abs(u) - 62 - 34 * np.clip(np.float32(position) - 0.1, 0, None)
        along, across = 0.5 * out - 0.866 * (v - 18), 0.866 * out + 0.5 * (v - 18) + 0.004 * (v - 10) ** 2
        _paint(image, _between(across, -22, -7, 4) * _between(along, 4, 75, 8) * (1 - high), "muscle")
        _paint(image, _between(across, 6, 30, 3) * _between(along, -8, 75, 5) * (1 - high), "muscle")
        wing = np.abs(across + 0.3 * coarse) - np.clip(8.5 - 0.07 * np.abs(along), 3.5, 8)
        _paint(image, _cover(wing, soft) * _between(along, -12, 90, 4) * (1 - high), "cortex")
        _paint(image, _cover(wing + 1.6, soft) * _between(along, -10, 90, 4) * (1 - high), "marrow")
    _paint(image, _cover(psoas, soft), "muscle")

    cv, rv = at(39, 37, 35, 32, 29, 28) * scale, at(21, 24, 25, 22, 19, 17) * scale
    cu, ru = at(28, 33, 36, 39, 40, 38) * scale, at(27, 32, 35.5, 39, 40, 38) * scale
    nu, nv = ((side - cu) / ru) ** 2, ((v + 0.1 * (side - cu) + 0.6 * coarse - cv) / rv) ** 2
    erector = (np.sqrt(nu + nv - 0.2 * nu * nv / (nu + nv + 1e-6)) - 1) * rv
    erector = np.maximum(erector, 3.2 - side)
    _paint(image, _cover(erector - 0.9, soft), "fat")
    _paint(image, _cover(np.abs(erector - 0.4) - 0.4, soft) * 0.4, "ligament")
    inside = _cover(erector, soft)
    _paint(image, inside, "muscle")
    # Fat creeps along septa, most in the multifidus, near the lamina.
    medial = np.exp(-(((side - 13) / 13) ** 2) - ((v - cv + 8) / 13) ** 2)
    creep = infiltration * (0.35 + 1.3 * medial) + 0.35 * coarse * infiltration
    _paint(image, inside * septa * np.clip(0.2 + 0.25 * coarse + 1.6 * creep, 0, 1), "fat")
    _paint(image, inside * np.clip((middle + 0.6 * fine - 2.5 + 2.8 * creep) * 0.8, 0, 0.85), "fat")
    for channel in image:
        channel *= 1 + 0.035 * fine

    skin = cv + rv + patient.fat_thickness * at(1.3, 1.15, 1, 0.85, 0.7, 0.6) + 3
    bend = (u / 110) ** 2
    depth = skin - bend * at(6, 10, 14, 18, 20, 20) - 4 * np.exp(-((u / 14) ** 2)) + 0.3 * coarse - v
    _paint(image, 0.8 * _between(depth, -1, 1.6, 1), "skin")
    _paint(image, _cover(depth, soft), "air")
    return image, depth


def _reach(lesion: Lesion, disc: Disc, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Millimetres by which disc material exceeds the normal margin, posteriorly."""
    profile = np.sqrt(np.clip(1 - (w / np.float32(disc.height / 2 + 3)) ** 2, 0, 1))
    if lesion.kind == "bulge":
        return lesion.depth * profile * np.clip((v + disc.half_depth + 2) / 8, 0, 1)
    share, width = (0.55, 0.8 * lesion.width) if lesion.kind == "extrusion" else (1.0, lesion.width)
    dome = np.sqrt(np.clip(1 - (2 * (u - lesion.centre) / width) ** 2, 0, 1)) * (v > -disc.half_depth)
    return np.float32(share * lesion.depth) * profile * dome


def spine(
    image: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    w: np.ndarray,
    disc: Disc,
    patient: Patient,
    texture: list[np.ndarray],
    soft: float,
) -> np.ndarray:
    """Paint disc, vertebrae, canal and posterior arch over `image` ``(2, ...)``, in the disc's frame, in place.

    Returns
    -------
    (...) float32
        Share of each point that is lesion.
    """
    _, middle, fine = texture
    a, b, lower = disc.half_width, disc.half_depth, LEVELS.index(disc.level) < 2
    side = np.abs(u)
    marrow = (TISSUE["marrow"][0] * patient.marrow, TISSUE["marrow"][1] * patient.marrow)
    sacrum = disc.level == "L5-S1"

    # Vertebral end plates bound the disc: concave, wedged open to the front.
    posterior = np.clip((v + b) / b, 0, 1)
    dented = v + disc.concavity * np.exp(-((u / 11) ** 2)) * posterior
    nu, nv = (u / a) ** 2, ((dented + b) / b) ** 2
    radius = np.sqrt(nu + nv - 0.3 * nu * nv / (nu + nv + 1e-6)) + 1e-6
    edge = np.sqrt(u**2 + (dented + b) ** 2) * (radius - 1) / radius
    half = disc.height / 2 * (0.86 + 0.24 * np.clip(1 - radius**2, 0, 1)) * (1 - 0.012 * np.clip(v + b, -20, 20))
    above = np.abs(w) - half
    in_disc = _cover(above, 0.9)
    waist = edge + 1.8 * np.clip(above / 9, 0, 1)
    if sacrum:
        waist = waist + 0.35 * np.clip(-w - 14, 0, 40)

    # Compartment around the spine: fat, foramina.
    compartment = _ellipse(u, v, 0, 9, 26, 15)
    _paint(image, _cover(compartment + 3 * middle, 3), "fat")

    # Posterior arch. The canal's roof is a gable: ligamentum flavum, then lamina, then spinous process.
    push = 0.0
    lesion = disc.lesion
    if lesion:
        push = _reach(lesion, disc, np.zeros_like(u), np.float32(0), w) * 0.4
    depth_sac = disc.gap + 2 * disc.sac[1]
    roof = depth_sac + 3.2 - 0.62 * side
    band = (v - roof) * 0.85
    up = np.clip((w + 3) / 4, 0, 1)  # the upper vertebra's arch hangs down to the disc
    down = np.clip((-w - 9) / 4, 0, 1)
    arch = np.maximum(up, down)
    tip = by_level(LEVELS.index(disc.level), (42, 47, 48, 46, 41, 37)) * patient.muscle_scale
    process = np.maximum(side - 2.6 - 0.05 * (v - 20) - 0.3 * middle, np.maximum(depth_sac + 5 - v, v - tip))
    _paint(image, _cover(process, soft), (0.62, 0.42))
    _paint(image, _cover(process, soft) * np.clip(0.7 * fine + 0.5, 0, 1) * (1 - arch), "ligament")
    _paint(image, _cover(process, soft) * arch, "cortex")
    _paint(image, _cover(process + 1.1, soft) * arch, marrow)
    lamina = np.maximum(np.abs(band - disc.flavum - 2.6) - 2.9, side - 15)
    _paint(image, _cover(lamina, soft) * arch, "cortex")
    _paint(image, _cover(lamina + 1.3, soft) * arch, marrow)
    joint = _between(w, -10, 7, 4)
    size = disc.facet
    fu, fv = 16.5 + 3 * (size - 1), depth_sac - 1
    facet = _ellipse(side, v, fu, fv, 8.2 * size, 6.6 * size, 0.9) + 0.35 * fine
    across = 0.72 * (side - fu) + 0.69 * (v - fv) - 0.06 * (side - fu) ** 2
    cover = _cover(facet, soft) * joint
    _paint(image, cover, "cortex")
    _paint(image, _cover(facet + 1.5, soft) * joint * _cover(1.3 - np.abs(across), soft), marrow)
    _paint(image, cover * _cover(np.abs(across) - 0.4, soft) * 0.5, (0.3, 0.6))
    flavum = np.maximum(np.abs(band - disc.flavum / 2) - disc.flavum / 2, side - 13)
    _paint(image, _cover(flavum, soft) * (1 - 0.5 * arch), "ligament")

    # Canal: epidural fat, thecal sac with roots (cord above L2), nerve roots in recess and foramen.
    canal = np.maximum(np.maximum(band, side - 12.5), -1 - v)
    _paint(image, _cover(canal, soft), "fat")
    sac_u, sac_v = disc.sac
    taper = 0.32 if lower else 0.15
    deep = sac_v - 0.4 * push
    sv = (v - disc.gap - sac_v - 0.55 * push) / deep
    su = u / (sac_u * (1 - taper * np.clip(sv, -1, 1)) * (1 - 0.25 * sacrum * np.clip(-w / 14, 0, 1)))
    nu, nv = su**2, sv**2
    sac = (np.sqrt(nu + nv - 0.45 * nu * nv / (nu + nv + 1e-6)) - 1) * sac_v
    _paint(image, _cover(sac - 0.7, soft), "ligament")
    _paint(image, _cover(sac, soft), "csf")
    p, q = disc.phase
    grid = np.sin(2.3 * u + p + 0.8 * np.sin(0.9 * v)) * np.sin(2.5 * v + q + 0.7 * np.sin(1.1 * u)) + 0.45 * fine
    _paint(image, _cover(sac + 0.5, soft) * np.clip((grid - 0.25) * 3, 0, 1) * np.clip(sv * 2.5 + 0.9, 0, 1), "nerve")
    if LEVELS.index(disc.level) >= 4:
        _paint(image, _cover(_ellipse(u, v, 0, disc.gap + 1.1 * sac_v, 4.4, 3.6), soft), "cord")
    _paint(image, _cover(_ellipse(side, v, 17.5, 4.5, 2.6, 2.2), 1) * _between(w, 0, 30, 4), "nerve")
    _paint(image, _cover(_ellipse(side, v, 10.8, disc.gap + 3.5, 1.6, 1.6), 1), "nerve")

    # Pedicles of the lower vertebra close the canal below the disc, those of the upper one well above it.
    pedicle = _ellipse(side, v, a - 9, 0.3 * depth_sac, 5, 0.75 * depth_sac)
    level_of_pedicle = np.maximum(
        np.clip((-w - disc.height / 2 - 2) / 3, 0, 1), np.clip((w - disc.height / 2 - 9) / 3, 0, 1)
    )
    _paint(image, _cover(pedicle, soft) * level_of_pedicle, "cortex")
    _paint(image, _cover(pedicle + 1.2, soft) * level_of_pedicle, marrow)

    # Vertebral body, with the basivertebral vein at its middle, and disc.
    _paint(image, _cover(waist - 0.5, soft) * (1 - 0.7 * in_disc), "cortex")
    bone = _cover(waist + 0.7, soft) * (1 - in_disc)
    mottled = 1 + 0.06 * middle + 0.05 * fine
    for channel, signal in zip(image, marrow, strict=True):
        channel += bone * (signal * mottled - channel)
    plate = _cover(np.abs(above - 0.5) - 0.6, 0.8)
    _paint(image, _cover(waist, soft) * plate * 0.7, "cortex")
    vein = np.maximum(np.abs(u) - 1.2 - 0.25 * np.clip(v + 8, 0, 9), -8 - v)
    _paint(image, _cover(vein, 1.2) * bone * np.clip((np.abs(w) - disc.height / 2 - 4) / 4, 0, 0.8), (0.45, 0.85))
    if sacrum:
        ala = _ellipse(side, v, 30, -5, 24, 13, -0.35)
        far = np.clip((-w - disc.height / 2 - 2) / 4, 0, 1) * (1 - _cover(canal, 1))
        _paint(image, _cover(ala, soft) * far * _cover(-waist, soft), "cortex")
        _paint(image, _cover(ala + 1.4, soft) * far * _cover(-waist - 0.5, soft), marrow)

    gel = np.clip((0.78 - np.sqrt((u / a) ** 2 + ((v + 1.05 * b) / (0.92 * b)) ** 2)) * 4, 0, 1)
    inner = TISSUE["annulus"][1] + disc.nucleus * (TISSUE["nucleus"][1] - TISSUE["annulus"][1])
    material = _cover(edge, soft) * in_disc
    _paint(image, material, "annulus")
    _paint(image, material * np.clip(1.6 * (0.86 - radius) * 3, 0, 1) * 0.35, "hernia")
    _paint(image, material * gel, (TISSUE["nucleus"][0], inner * 1.0))
    if lesion is None:
        return np.zeros(image.shape[1:], np.float32)
    return _lesion(image, u, v, w, edge, waist, disc, lesion, soft)


def _lesion(
    image: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    w: np.ndarray,
    edge: np.ndarray,
    waist: np.ndarray,
    disc: Disc,
    lesion: Lesion,
    soft: float,
) -> np.ndarray:
    """Paint the lesion in place; returns its share of each point."""
    signal = (TISSUE["hernia"][0], TISSUE["hernia"][1] * lesion.signal)
    if lesion.kind == "tear":
        spot = _ellipse(u, v + 0.0 * w, lesion.centre, -disc.concavity - 2.6, lesion.width / 2, lesion.depth / 2)
        cover = _cover(spot, soft) * _between(w, -4, 4, 1.5)
        _paint(image, cover, "tear")
        return cover
    reach = _reach(lesion, disc, u, v, w)
    body = _cover(waist, soft)
    outer = edge - reach
    present = np.clip(reach * 2, 0, 1)
    if lesion.kind == "extrusion":
        tall = 7.5
        r = np.sqrt(
            ((u - lesion.centre) / (lesion.width / 2)) ** 2
            + ((v - lesion.depth * 0.5 + 0.5) / (lesion.depth * 0.5 + 0.5)) ** 2
            + ((w - lesion.migration) / tall) ** 2
        )
        fragment = (r - 1) * lesion.depth / 2
        outer = np.where(present > 0, np.minimum(outer, fragment), fragment)
        present = np.maximum(present, _cover(fragment - 1, soft))
    _paint(image, np.clip(_cover(outer - 0.9, soft) - body, 0, 1) * present, "ligament")
    cover = np.clip(_cover(outer, soft) - body, 0, 1) * present
    _paint(image, cover, signal)
    return cover
