"""Synthetic lumbar-spine studies, written as DICOM files in the archive's own layout, with truth beside them.

A patient is a chain of discs with local frames (u: left, v: posterior, w: cranial; the origin is the middle of the
posterior disc margin; millimetres). Tissue is painted, from the back to the front, as soft-edged implicit shapes into a
pair of T1 and T2 maps, so both weightings of a slice share one anatomy and differ in contrast and noise.
No number here describes a patient: a result on the phantom is no evidence about patients.
"""

import json
import os
import re
import shutil
import uuid
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy import ndimage

from lhdlib.errors import UserError
from lhdlib.progress import progress_bar

Field = np.ndarray | float

VERSION = 1  #: goes up whenever the same seed gives other bytes
LEVELS = ("L5-S1", "L4-L5", "L3-L4", "L2-L3", "L1-L2", "T12-L1", "T11-T12", "T10-T11")  #: from below
PIXEL, SPACING, THICKNESS = 0.6875, 4.4, 4.0  #: millimetres, axial
PREFIX = "1.2.826.0.1.3680043.8.498."

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


@dataclass(frozen=True)
class Lesion:
    """What makes a disc positive; lengths in millimetres, `centre` is u, positive to the patient's left."""

    kind: str  #: bulge, protrusion, extrusion or tear
    side: str  #: diffuse, central, left/right paracentral, left/right foraminal
    depth: float
    width: float
    centre: float
    migration: float  #: w of the extruded fragment, negative caudal
    signal: float  #: T2 signal relative to the tissue table


@dataclass(frozen=True)
class Disc:
    """One disc with the canal behind it; lengths in millimetres, angles in radians."""

    level: str
    severity: float  #: hidden degeneration, 0 to 1
    lesion: Lesion | None
    origin: tuple[float, float, float]
    tilt: float
    height: float
    half_width: float
    half_depth: float
    concavity: float
    nucleus: float
    sac: tuple[float, float]
    gap: float
    flavum: float
    facet: float
    infiltration: float
    phase: tuple[float, float]


@dataclass(frozen=True)
class Slab:
    """The axial slices of one disc: tilt about x and y, offsets of the slices along the normal, from the top."""

    disc: int
    tilt: float
    roll: float
    offsets: tuple[float, ...]


@dataclass(frozen=True)
class Patient:
    """Everything random about one patient, except texture and noise."""

    number: int
    discs: tuple[Disc, ...]
    slabs: tuple[Slab, ...]  #: from the top
    fat_thickness: float
    muscle_scale: float
    rotation: float
    centre: tuple[float, float]
    saturation: float
    coil: float
    noise: float
    gain: float
    marrow: float
    columns: int


def sample_patient(seed: int, number: int) -> Patient:
    """Draw the anatomy of one patient, without rendering.

    Parameters
    ----------
    seed, number : int
        Seed of the phantom and number of the patient (from 1); the pair decides everything.
    """
    return _draw_patient(np.random.default_rng([seed, number]), number)


def _draw_patient(rng: np.random.Generator, number: int) -> Patient:
    count = int(rng.choice([3, 4, 5, 6], p=[0.33, 0.37, 0.22, 0.08]))
    trend = np.array([0.52, 0.53, 0.42, 0.31, 0.24, 0.2, 0.2, 0.2])
    severity = np.clip(trend + rng.normal(0, 0.13) + rng.normal(0, 0.13, len(LEVELS)), 0.02, 0.98)
    size = rng.normal(1, 0.04)
    tilts = np.radians(np.array([24, 9, 1, -4, -8, -9, -8, -6]) + rng.normal(0, 2.5, 8) + rng.normal(0, 2))
    heights = np.array([9.5, 11, 10.5, 9.8, 9, 8, 7, 6.5]) * size * (1 - 0.28 * severity) * rng.normal(1, 0.06, 8)
    heights = np.clip(heights, 6, 13)
    sideways = np.cumsum(rng.normal(0, 0.8, 8))
    y, z = 20.0, -75.0
    discs = []
    for k, level in enumerate(LEVELS):
        if k:
            middle = (tilts[k] + tilts[k - 1]) / 2
            step = size * 26.5 + (heights[k] + heights[k - 1]) / 2
            y, z = y - step * np.sin(middle), z + step * np.cos(middle)
        s = severity[k]
        positive = k < count and rng.random() < 1 / (1 + np.exp(-(-0.02 + 3.2 * (s - 0.45))))
        half_width = np.array([25.5, 25.5, 25, 24, 23, 22, 21, 20])[k] * size * rng.normal(1, 0.03)
        narrow = 1 - 0.16 * np.clip(s - 0.3 + rng.normal(0, 0.15), 0, 1)
        discs.append(
            Disc(
                level=level,
                severity=float(s),
                lesion=_draw_lesion(rng, half_width) if positive else None,
                origin=(float(sideways[k]), float(y), float(z)),
                tilt=float(tilts[k]),
                height=float(heights[k]),
                half_width=float(half_width),
                half_depth=float(np.array([17, 17.5, 17.5, 17, 16.5, 16, 15, 14.5])[k] * size * rng.normal(1, 0.03)),
                concavity=float(np.clip(rng.normal(0.8 if k == 0 else 1.5, 0.6), 0, 3)),
                nucleus=float(np.clip(1.05 - 1.15 * s + rng.normal(0, 0.16), 0.03, 1)),
                sac=(
                    float(np.array([7.6, 8.8, 9.2, 9.4, 9.4, 9.2, 8.6, 8.6])[k] * narrow * rng.normal(1, 0.07)),
                    float(np.array([5.8, 6.6, 7.0, 7.2, 7.2, 7.2, 7.0, 7.0])[k] * narrow * rng.normal(1, 0.07)),
                ),
                gap=float(np.array([3.2, 1.4, 1.0, 0.9, 0.8, 0.8, 0.8, 0.8])[k] * rng.uniform(0.7, 1.3)),
                flavum=float(np.clip(2.2 + 2.4 * s + rng.normal(0, 0.6), 1.5, 5.5)),
                facet=float(np.clip(0.88 + 0.34 * s + rng.normal(0, 0.07), 0.75, 1.35)),
                infiltration=float(np.clip(0.1 + 0.5 * s + rng.normal(0, 0.12) + 0.08 * (k < 2), 0, 0.9)),
                phase=tuple(float(p) for p in rng.uniform(0, 2 * np.pi, 2)),
            )
        )
    return Patient(
        number=number,
        discs=tuple(discs),
        slabs=_draw_slabs(rng, tilts, count),
        fat_thickness=float(np.clip(rng.gamma(3.5, 4), 3, 40)),
        muscle_scale=float(rng.normal(1, 0.05)),
        rotation=float(np.radians(rng.normal(0, 1.2))),
        centre=(float(rng.normal(0, 1.5)), float(-13 + rng.normal(0, 2.5))),
        saturation=float(rng.uniform(3, 13)),
        coil=float(rng.uniform(38, 95)),
        noise=float(rng.uniform(0.012, 0.024)),
        gain=float(rng.uniform(700, 1300)),
        marrow=float(rng.normal(1, 0.1)),
        columns=310 if rng.random() < 0.04 else 320,
    )


def _draw_lesion(rng: np.random.Generator, half_width: float) -> Lesion:
    kind = str(rng.choice(["bulge", "protrusion", "extrusion", "tear"], p=[0.42, 0.36, 0.12, 0.10]))
    places = ["central", "left paracentral", "right paracentral", "left foraminal", "right foraminal"]
    side = "diffuse" if kind == "bulge" else str(rng.choice(places[:3] if kind != "protrusion" else places))
    centre = {"diffuse": 0.0, "central": rng.normal(0, 1)}.get(side, rng.uniform(5, 9))
    if "foraminal" in side:
        centre = rng.uniform(0.62, 0.74) * half_width
    depth, width = {
        "bulge": (rng.uniform(2.8, 5), 2 * half_width),
        "protrusion": (rng.uniform(4.5, 8.5), rng.uniform(10, 18)),
        "extrusion": (rng.uniform(7.5, 11), rng.uniform(11, 17)),
        "tear": (rng.uniform(1.8, 2.6), rng.uniform(5, 9)),
    }[kind]
    migration = rng.choice([-1, 1], p=[0.7, 0.3]) * rng.uniform(3, 8) if kind == "extrusion" else 0.0
    signed = -centre if side.startswith("right") else centre
    return Lesion(kind, side, float(depth), float(width), float(signed), float(migration), float(rng.uniform(0.6, 1.4)))


def _draw_slabs(rng: np.random.Generator, tilts: np.ndarray, count: int) -> tuple[Slab, ...]:
    usual = int(rng.choice([4, 5], p=[0.45, 0.55]))
    blocks = rng.random() < 0.45  # all slabs above the lowest exactly parallel, apart only by a gap
    share, common = rng.uniform(0.5, 0.9), tilts[1:count].mean() + np.radians(rng.normal(0, 1))
    roll = np.radians(rng.normal(0, 0.8))
    slabs = []
    for k in reversed(range(count)):
        tilt = tilts[0] * rng.uniform(0.85, 1.0) if k == 0 else common + share * (tilts[k] - common) * (not blocks)
        slices = int(rng.choice([3, 6])) if rng.random() < 0.03 else usual
        # The publishers' central slice is the third of four as well as of five.
        first = {3: 1, 4: 2, 5: 2, 6: 3}[slices] * SPACING + rng.uniform(-1.2, 1.2)
        turned = roll if blocks and k else roll + np.radians(rng.normal(0, 0.6))
        slabs.append(Slab(k, float(tilt), float(turned), tuple(float(first - SPACING * i) for i in range(slices))))
    return tuple(slabs)


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


class _Texture:
    """Smooth unit-variance noise of three scales (about 8, 3 and 1.2 mm) that changes slowly along w."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int]):
        self.fields = [[self._field(rng, shape, sigma) for _ in range(2)] for sigma in ((12, 12), (6, 3), (1.7, 1.7))]

    @staticmethod
    def _field(rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float]) -> np.ndarray:
        step = max(1, int(min(sigma) / 2))
        coarse = rng.standard_normal([n // step + 2 for n in shape], dtype=np.float32)
        coarse = ndimage.gaussian_filter(coarse, [s / step for s in sigma], mode="wrap")
        return ndimage.zoom(coarse / coarse.std(), step, order=1)[: shape[0], : shape[1]]

    def at(self, w: float) -> list[np.ndarray]:
        """Three fields for a plane at height `w` (mm)."""
        waves = [w / length for length in (40, 14, 6)]
        return [
            a * np.float32(np.cos(t)) + b * np.float32(np.sin(t)) for (a, b), t in zip(self.fields, waves, strict=True)
        ]


def _by_level(position: float | np.ndarray, values: tuple[float, ...]) -> np.ndarray:
    """Value at positions along the spine (0 is L5-S1, 1 is L4-L5, ...), linear between the levels."""
    return np.interp(position, np.arange(len(values)), values).astype(np.float32)


def _periphery(
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

    at = lambda *values: _by_level(position, values)  # noqa: E731
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


def _spine(
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
    tip = _by_level(LEVELS.index(disc.level), (42, 47, 48, 46, 41, 37)) * patient.muscle_scale
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


# --- slices ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plane:
    """Geometry of an image as DICOM states it: centre of the first pixel, unit row and column directions."""

    position: np.ndarray
    right: np.ndarray
    down: np.ndarray
    pixel: float
    rows: int
    columns: int


def axial_planes(patient: Patient, slab: Slab) -> list[Plane]:
    """Planes of a slab's slices, from the top."""
    c, s = np.cos(slab.tilt), np.sin(slab.tilt)
    right = np.array([np.cos(slab.roll), 0, np.sin(slab.roll)])
    normal = np.cross(right, [0, c, s])
    normal /= np.linalg.norm(normal)
    down = np.cross(normal, right)
    disc = patient.discs[slab.disc]
    middle = np.array(disc.origin) - 0.7 * disc.half_depth * np.array([0, np.cos(disc.tilt), np.sin(disc.tilt)])
    middle = middle + (0.7 * disc.half_depth + patient.centre[1]) * down + patient.centre[0] * right
    rows = 320
    corner = middle - PIXEL * ((patient.columns - 1) / 2 * right + (rows - 1) / 2 * down)
    return [Plane(corner + offset * normal, right, down, PIXEL, rows, patient.columns) for offset in slab.offsets]


def _axial(patient: Patient, texture: _Texture, slab: Slab, plane: Plane) -> tuple[np.ndarray, np.ndarray]:
    """Render one slice position: T1 and T2 signal ``(2, rows, columns)`` and the lesion mask."""
    disc = patient.discs[slab.disc]
    c, s = np.cos(disc.tilt), np.sin(disc.tilt)
    frame = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    turn = np.array([[np.cos(patient.rotation), np.sin(patient.rotation), 0], [0, 0, 0], [0, 0, 1]])
    turn[1] = [-turn[0, 1], turn[0, 0], 0]
    frame = turn @ frame
    start = frame @ (plane.position - disc.origin)
    across, along = PIXEL * (frame @ plane.right), PIXEL * (frame @ plane.down)
    i, j = np.arange(plane.rows, dtype=np.float32)[:, None], np.arange(plane.columns, dtype=np.float32)
    u, v, w = ((start[n] + across[n] * j + along[n] * i).astype(np.float32) for n in range(3))
    height = float(w[plane.rows // 2 + 18, plane.columns // 2])
    position = slab.disc + height / 36
    fields = texture.at(height + 36 * slab.disc)
    image, depth = _periphery(u, v, position, patient, disc.infiltration, fields, PIXEL)
    # The spine alone is averaged over the slice thickness; around it one plane stands for the slice.
    inside_u, inside_v = (
        np.abs(u[plane.rows // 2]) < 62,
        (v[:, plane.columns // 2] > -40) & (v[:, plane.columns // 2] < 52),
    )
    box = np.s_[
        np.flatnonzero(inside_v)[0] : np.flatnonzero(inside_v)[-1],
        np.flatnonzero(inside_u)[0] : np.flatnonzero(inside_u)[-1],
    ]
    planes = np.array([-1.4, 0, 1.4], np.float32)
    deep = np.stack([image[(slice(None), *box)]] * len(planes), axis=1)
    boxed = [f[box] for f in fields]
    share = _spine(deep, u[box][None], v[box][None], w[box][None] + planes[:, None, None], disc, patient, boxed, PIXEL)
    image[(slice(None), *box)] = deep.mean(axis=1)
    mask = np.zeros(u.shape, bool)
    mask[box] = share.mean(axis=0) >= 0.4
    return _receive(image, v, depth, patient), mask


def _receive(image: np.ndarray, v: np.ndarray, depth: np.ndarray, patient: Patient) -> np.ndarray:
    """Coil sensitivity, which falls with the depth below the skin, and the anterior saturation band."""
    edge = -2 * patient.discs[1].half_depth - patient.saturation
    coil = 0.25 + 0.75 * np.exp(-np.clip(depth, 0, None) / patient.coil)
    return image * (coil * (0.04 + 0.96 / (1 + np.exp(-np.clip((v - edge) / 2.2, -30, 30)))))


def _coarse(patient: Patient, texture: _Texture, plane: Plane, factor: int, channel: int) -> np.ndarray:
    """Render T1 (0) or T2 (1) of a sagittal, coronal or axial plane on a grid coarser by `factor`, then enlarge it."""
    rows, columns = plane.rows // factor, plane.columns // factor
    step = plane.pixel * factor
    i, j = (np.arange(n) * step + (step - plane.pixel) / 2 for n in (rows, columns))
    points = plane.position + i[:, None, None] * plane.down + j[:, None] * plane.right
    x, y, z = np.moveaxis(points, -1, 0).astype(np.float32)
    origins = np.array([disc.origin for disc in patient.discs])
    # A point belongs to the disc between whose neighbouring mid-vertebral planes it lies.
    owner = np.zeros(x.shape, int)
    for lower, upper in zip(patient.discs[:-1], patient.discs[1:], strict=True):
        middle = (np.array(lower.origin) + upper.origin) / 2
        tilt = (lower.tilt + upper.tilt) / 2
        owner += (z - middle[2]) * np.cos(tilt) - (y - middle[1]) * np.sin(tilt) > 0
    below = origins[:1] + [[0, 22, -60]]
    known = np.concatenate([below, origins])
    behind = y - np.interp(z, known[:, 2], known[:, 1]).astype(np.float32)
    # Height, hence the level, is the same along a row of every plane that is rendered this way.
    position = np.interp(z[:, :1], origins[:, 2], np.arange(len(origins)))
    fields = [field[:rows, :columns] for field in texture.at(float(x.mean()))]
    infiltration = patient.discs[1].infiltration
    image, depth = _periphery(x, behind, position, patient, infiltration, fields, step)
    for k in np.unique(owner):
        disc, here = patient.discs[k], np.flatnonzero(owner == k)
        u, dy, dz = (axis.ravel()[here] - np.float32(o) for axis, o in zip((x, y, z), disc.origin, strict=True))
        c, s = np.float32(np.cos(disc.tilt)), np.float32(np.sin(disc.tilt))
        v, w = c * dy + s * dz, c * dz - s * dy
        near = (np.abs(u) < 62) & (np.abs(v) < 60) & (w > -45)
        here, part = here[near], image.reshape(2, -1)[:, here[near]]
        _spine(part, u[near], v[near], w[near], disc, patient, [f.ravel()[here] for f in fields], step)
        image.reshape(2, -1)[:, here] = part
    signal = _receive(image[channel], behind, depth, patient)
    return ndimage.zoom(signal, factor, order=1, grid_mode=True, mode="nearest")


def _digitise(rng: np.random.Generator, signal: np.ndarray, patient: Patient) -> np.ndarray:
    """Edge enhancement, as scanners' filters do it, Rician noise, and 12-bit integers."""
    real, imaginary = np.float32(patient.noise) * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    real += signal
    inner = signal[1:-1, 1:-1]
    ring = signal[:-2, 1:-1] + signal[2:, 1:-1] + signal[1:-1, :-2] + signal[1:-1, 2:]
    real[1:-1, 1:-1] += np.float32(0.55) * (inner - ring / 4)
    magnitude = np.sqrt(real * real + imaginary * imaginary) * np.float32(patient.gain)
    return np.minimum(magnitude, 4095).astype("<u2")


# --- files ----------------------------------------------------------------------------------------------------------


def _uid(*parts: Any) -> str:
    return generate_uid(prefix=PREFIX, entropy_srcs=["lhdlib phantom", str(VERSION), *map(str, parts)])


@dataclass(frozen=True)
class _Series:
    """What all images of a series share."""

    folder: str
    description: str
    number: int
    weighting: str
    thickness: float
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "M", "ND", "NORM")


def _header(seed: int, patient: Patient, series: _Series, time: str) -> FileDataset:
    """DICOM header of a series, to be completed for each image."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PREFIX + "1"
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = list(series.image_type)
    ds.SOPClassUID = MRImageStorage
    ds.StudyDate, ds.StudyTime = "", time
    ds.AccessionNumber = ""
    ds.Modality = "MR"
    ds.Manufacturer = "lhdlib phantom (synthetic)"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "l-spine^lss"
    ds.SeriesDescription = series.description
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "", "", "", ""
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "SK", "", "2D"
    ds.SliceThickness = series.thickness
    spread = patient.number % 7
    repetition, echo = (480 + 20 * spread, 11) if series.weighting == "T1" else (3500 + 60 * spread, 100 + spread)
    ds.RepetitionTime, ds.EchoTime = repetition, echo
    ds.MagneticFieldStrength = 1.5
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = _uid(seed, patient.number)
    ds.SeriesInstanceUID = _uid(seed, patient.number, series.number)
    ds.StudyID = "1"
    ds.SeriesNumber = series.number
    ds.FrameOfReferenceUID = _uid(seed, patient.number, series.number, "frame")
    ds.ImageComments = "synthetic phantom, not a patient"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    return ds


def _decimal(value: float) -> str:
    """Shortest decimal string that fits DICOM's 16 characters."""
    return next(text for text in (f"{value:.{n}g}" for n in range(12, 4, -1)) if len(text) <= 16)


def _orientation(plane: Plane, rng: np.random.Generator) -> list[str]:
    """Orientation with the rounding noise that scanners leave where a zero belongs."""
    values = np.concatenate([plane.right, plane.down])
    return [_decimal(v if abs(v) > 1e-9 else rng.normal(0, 1e-11)) for v in values]


def _complete(ds: FileDataset, plane: Plane, pixels: np.ndarray, number: int, uid: str, orientation: list[str]) -> None:
    """Fill in what differs from image to image."""
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid
    ds.InstanceNumber = number
    ds.ImagePositionPatient = [_decimal(v) for v in plane.position]
    ds.ImageOrientationPatient = orientation
    ds.SliceLocation = _decimal(float(np.cross(plane.right, plane.down) @ plane.position))
    ds.Rows, ds.Columns = pixels.shape
    ds.PixelSpacing = [_decimal(plane.pixel)] * 2
    low, high = np.percentile(pixels[::4, ::4], (1, 99.5))
    ds.WindowCenter, ds.WindowWidth = int((low + high) / 2), max(int(high - low), 1)
    ds.PixelData = pixels.tobytes()


def _sagittal_planes(patient: Patient, offsets: np.ndarray, pixel: float, size: int) -> list[Plane]:
    origin = np.array(patient.discs[2].origin)
    right, down = np.array([0.0, 1, 0]), np.array([0.0, 0, -1])
    corner = origin + [0, 25, 0] - pixel * (size - 1) / 2 * (right + down)
    return [Plane(corner + [x, 0, 0], right, down, pixel, size, size) for x in offsets]


def _localizer(rng: np.random.Generator, patient: Patient, texture: _Texture) -> list[tuple[Plane, np.ndarray]]:
    """Two sagittal, a coronal and an axial overview."""
    size, pixel = 512, 0.68359375
    planes = _sagittal_planes(patient, np.array([-12.0, 12.0]), pixel, size)
    x, y, z = patient.discs[2].origin
    half = pixel * (size - 1) / 2
    left, down, back = np.array([1.0, 0, 0]), np.array([0.0, 0, -1]), np.array([0.0, 1, 0])
    planes.append(Plane(np.array([x - half, y - 15, z + half]), left, down, pixel, size, size))
    planes.append(Plane(np.array([x - half, y + 15 - half, z]), left, back, pixel, size, size))
    return [(plane, _digitise(rng, _coarse(patient, texture, plane, 4, 0), patient)) for plane in planes]


def _position_display(sagittal: tuple[Plane, np.ndarray], planes: list[Plane]) -> tuple[Plane, np.ndarray]:
    """The scanner's screen that shows where the axial slices lie on a sagittal image."""
    view, pixels = sagittal
    pixels = pixels.copy()
    for plane in planes:
        middle = plane.position + PIXEL * (plane.columns - 1) / 2 * plane.right
        steps = np.arange(0, PIXEL * plane.rows, view.pixel / 2)
        relative = middle + steps[:, None] * plane.down - view.position
        j, i = (np.rint(relative @ axis / view.pixel).astype(int) for axis in (view.right, view.down))
        seen = (0 <= i) & (i < view.rows) & (0 <= j) & (j < view.columns)
        pixels[i[seen], j[seen]] = pixels.max()
    return view, pixels


def _write_series(
    folder: Path,
    ds: FileDataset,
    stem: str,
    images: list[tuple[Plane, np.ndarray]],
    rng: np.random.Generator,
    repeat: str = "",
) -> list[tuple[str, int]]:
    """Write a series from the top; returns UID and index in `images` of each file.

    One image may be there twice: ``repeat="file"`` under the same UID, ``repeat="image"`` under a new one.
    """
    folder.mkdir(parents=True)
    number = f"{ds.SeriesInstanceUID}"
    order = [(_uid(number, i), i) for i in range(len(images))]
    if repeat:
        uid, i = order[int(rng.integers(len(order)))]
        order.append((uid if repeat == "file" else _uid(number, "again"), i))
    orientations: dict[bytes, list[str]] = {}
    for file_number, (uid, i) in enumerate(order, 1):
        plane, pixels = images[i]
        key = np.concatenate([plane.right, plane.down]).tobytes()
        if key not in orientations:
            orientations[key] = _orientation(plane, rng)
        _complete(ds, plane, pixels, i + 1, uid, orientations[key])
        ds.save_as(folder / f"{stem}_{file_number:03d}.ima", enforce_file_format=True)
    return order


def _write_patient(task: tuple[str, int, int]) -> dict[str, Any]:
    """Render and write one patient; returns rows of the truth table, and masks packed to bits by UID."""
    archive, seed, number = task
    rng = np.random.default_rng([seed, number])
    patient = _draw_patient(rng, number)
    texture = _Texture(rng, (320, patient.columns))
    day = f"{rng.integers(2015, 2017)}{rng.integers(1, 13):02d}{rng.integers(1, 28):02d}"
    time, part = (
        f"{rng.integers(8, 19):02d}{rng.integers(60):02d}{rng.integers(60):02d}",
        f"{rng.integers(1000):03d}000",
    )
    kind = "LSS" if rng.random() < 0.85 else "CLINICAL_LIBRARIES"
    study = Path(archive) / "01_MRI_Data" / f"{number:04d}" / f"L-SPINE_{kind}_{day}_{time}_{part}"
    first = int(rng.choice([4, 5, 6], p=[0.75, 0.2, 0.05]))
    without_t1 = int(rng.integers(len(patient.slabs))) if rng.random() < 0.15 else None

    axial: dict[str, list[tuple[Plane, np.ndarray]]] = {"T1": [], "T2": []}
    masks, truth = [], []
    for index, slab in enumerate(patient.slabs):
        for plane in axial_planes(patient, slab):
            signal, mask = _axial(patient, texture, slab, plane)
            masks.append(mask)
            axial["T2"].append((plane, _digitise(rng, signal[1], patient)))
            if index != without_t1:
                axial["T1"].append((plane, _digitise(rng, signal[0], patient)))
        truth.append(_truth_row(patient, slab, masks))

    sides = (np.arange(rng.integers(11, 16)) - 6) * SPACING
    planes = _sagittal_planes(patient, sides, 0.78125, 384)
    sagittal = [(plane, _digitise(rng, _coarse(patient, texture, plane, 2, 1), patient)) for plane in planes]
    screen = ("DERIVED", "SECONDARY", "POSDISP", "M", "ND")
    series = {
        "localizer": (_Series("LOCALIZER_0001", "localizer", 1, "T1", 8), _localizer(rng, patient, texture)),
        "sagittal": (_Series("T2_TSE_SAG_384_0002", "t2_tse_sag_384", 2, "T2", THICKNESS), sagittal),
        "T2": (_Series(f"T2_TSE_TRA_384_{first:04d}", "t2_tse_tra_384", first, "T2", THICKNESS), axial["T2"]),
        "T1": (_Series(f"T1_TSE_TRA_{first + 1:04d}", "t1_tse_tra", first + 1, "T1", THICKNESS), axial["T1"]),
    }
    if rng.random() < 0.4:
        name = f"[{first}] t2_tse_tra_384"
        folder = f"POSDISP_{name.upper().replace(' ', '_')}_5001"
        series["screen"] = (
            _Series(folder, f"PosDisp: {name}", 5001, "T2", THICKNESS, screen),
            [_position_display(sagittal[6], [plane for plane, _ in axial["T2"]])],
        )
    written = {}
    for key, (shared, images) in series.items():
        repeat = str(rng.choice(["", "file", "image"], p=[0.9, 0.05, 0.05])) if key in axial else ""
        header = _header(seed, patient, shared, f"{time}.{part}")
        stem = f"{shared.folder[:11]}_{number:04d}"
        written[key] = _write_series(study / shared.folder, header, stem, images, rng, repeat)
    return {
        "discs": truth,
        "masks": {uid: np.packbits(masks[i]) for uid, i in written["T2"]},
        "shape": (320, patient.columns),
    }


def _truth_row(patient: Patient, slab: Slab, masks: list[np.ndarray]) -> dict[str, Any]:
    """Truth of the disc whose slices are the last of `masks`."""
    disc, count = patient.discs[slab.disc], len(slab.offsets)
    lesion = disc.lesion
    return {
        "patient": f"{patient.number:04d}",
        "level": disc.level,
        "label": int(lesion is not None),
        "lesion": lesion.kind if lesion else "none",
        "side": lesion.side if lesion else "none",
        "depth_mm": round(lesion.depth, 2) if lesion else 0.0,
        "width_mm": round(lesion.width, 2) if lesion else 0.0,
        "severity": round(disc.severity, 4),
        "first_slice": len(masks) - count + 1,
        "central_slice": len(masks) - count + 1 + int(np.argmin(np.abs(slab.offsets))),
        "slices": count,
        "lesion_slices": sum(bool(mask.any()) for mask in masks[-count:]),
    }


# --- notes ----------------------------------------------------------------------------------------------------------


def write_note(rng: np.random.Generator, discs: list[Disc]) -> str:
    """A radiologist's note on some discs, in the style of the archive's notes.

    Every positive disc, and no other, is said to have a bulge, protrusion, extrusion, tear or compression.
    """
    pick = lambda *choices: str(rng.choice(choices))  # noqa: E731
    positive = [disc for disc in discs if disc.lesion]
    dry = [disc for disc in discs if not disc.lesion and disc.nucleus < 0.45]
    style = pick("L4-L5", "L4-L5", "L4/L5", "L4-5")

    lines = [pick("LSS MRI:", "LSS MRI :", "LSS MRI", "Lumbosacral MRI", "MRI OF THE LSS")]
    if rng.random() < 0.5:
        lines.append(pick("Feature of muscle spasm.", "Features of muscle spasm noted.", "feature of muscle spasm ."))
    if not positive:
        lines.append(
            pick("Normal study.", "No evidence of disc herniation noted.", "No disc herniation or bulge noted.")
        )
        if lines[-1] != "Normal study.":
            lines.append("No significant thecal sac or nerve root compression noted.")
    bulges = [disc for disc in positive if disc.lesion.kind == "bulge"]
    if len(bulges) > 1 and rng.random() < 0.7:
        form = pick("Diffuse disc bulges", "Mild diffuse disc bulges", "Disc bulges")
        effect = pick("compressing the thecal sac", "mild compressing thecal sac and both exit nerve roots")
        lines.append(f"{form} {pick('noted at', 'of', 'at')} {_places(pick, bulges, style)}, {effect}.")
        positive = [disc for disc in positive if disc.lesion.kind != "bulge"]
    lines += [_finding(pick, disc.lesion, _places(pick, [disc], style)) for disc in positive]
    if dry and rng.random() < 0.6:
        form = pick("Mild disc dehydration", "Disc dehydration", "Desiccated disc")
        lines.append(f"{form} {pick('noted at', 'at')} {_places(pick, dry, style)}.")
    if rng.random() < 0.3:
        lines.append(pick("Adequate spinal canal.", "no definite fractures noted.", "Normal conus medullaris."))
    text = "\n".join(lines)
    if rng.random() < 0.3:
        slips = {"noted": "notted", "compressing": "compresing", "thecal": "thecl", "Feature": "Faeture"}
        right = pick(*slips)
        text = text.replace(right, slips[right], 1)
    return text


def _places(pick: Callable[..., str], discs: list[Disc], style: str) -> str:
    """Names of disc levels as a note writes them: one, a list, or from the first to the last."""
    if style == "L4-5":
        names = [re.sub(r"^L(\d)-L(\d)$", r"L\1-\2", disc.level) for disc in discs]
    else:
        names = [disc.level.replace("-", style[2]) for disc in discs]
    if len(discs) == 1:
        return names[0] + pick(" level", " level", "")
    order = [LEVELS.index(disc.level) for disc in discs]
    if np.all(np.diff(order) == -1) and pick("range", "list", "list") == "range":
        return f"{discs[0].level.split('-')[0]}-{discs[-1].level.split('-')[1]} levels"
    return f"{', '.join(names[:-1])} {pick('and', '&')} {names[-1]} levels"


def _finding(pick: Callable[..., str], lesion: Lesion, place: str) -> str:
    """One sentence on one lesion."""
    side = pick(lesion.side, lesion.side.replace("left", "Lt").replace("right", "Rt"))
    side = side[0].upper() + side[1:]
    effect = pick("compressing the thecal sac", "mildly compressing thecal sac", "indenting the thecal sac")
    at = pick("noted at", "at", "of")
    if lesion.kind == "bulge":
        root = pick("", " and both exiting nerve roots", " and exit canals")
        return f"{pick('Diffuse', 'Mild diffuse', 'Wide base')} disc bulge {at} {place}, {effect}{root}."
    if lesion.kind == "tear":
        return f"{side} {pick('annular tear', 'annular fissure')} {at} {place}."
    root = "" if side == "Central" else pick("", f" and {side.split()[0]} nerve root")
    moved = pick(" with caudal migration", "") if lesion.migration < 0 else ""
    return f"{side} disc {lesion.kind} {at} {place}{moved}, {effect}{root}."


def _write_notes(path: Path, notes: dict[int, str]) -> None:
    """Write the workbook; its bytes depend on the notes alone."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Sheet1"
    sheet.append(["Patient ID", "Clinician's Notes"])
    for number, note in sorted(notes.items()):
        sheet.append([number, note or None])
    book.properties.created = datetime(2020, 1, 1)
    buffer = BytesIO()
    book.save(buffer)
    # openpyxl stamps the time of saving into the properties and into the ZIP directory.
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.namelist():
            content = source.read(entry)
            if entry == "docProps/core.xml":
                content = re.sub(rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>2020-01-01T00:00:00Z", content)
            target.writestr(zipfile.ZipInfo(entry, (2020, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)


# --- the whole archive ----------------------------------------------------------------------------------------------


def _numbers(patients: int, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the patients with studies, and of those who only have an empty row in the notes."""
    rng = np.random.default_rng([seed, 0])
    total = patients + max(1, patients // 12)
    empty = np.sort(rng.choice(np.arange(2, total + 1), total - patients, replace=False))
    return [n for n in range(1, total + 1) if n not in empty], [int(n) for n in empty]


def write_phantom(
    folder: str | Path, patients: int, seed: int = 0, workers: int | None = None, progress: bool = False
) -> Path:
    """Write an archive of synthetic patients, with its truth apart from it.

    Parameters
    ----------
    folder : path
        Gets ``archive/`` (`01_MRI_Data/` and the notes), ``truth/`` and ``phantom.json``; whole or not at all.
        A phantom written with the same parameters is used as it is, one with others is replaced.
    patients : int
        Number of patients with studies, 1 to 9000.
    seed : int
        The same seed writes the same bytes, whatever the number of workers.
    workers : int, optional
        Processes; all usable cores by default.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        ``folder/archive``, what the pipeline reads.

    Raises
    ------
    UserError
        When `folder` holds something else, or the disk is too small.
    """
    if not 1 <= patients <= 9000:
        raise ValueError(f"The number of phantom patients has to be from 1 to 9000, not {patients}.")
    folder = Path(folder).absolute()
    parameters = {"patients": patients, "seed": seed, "version": VERSION}
    previous = _manifest(folder)
    if previous == parameters:
        return folder / "archive"
    if previous is None and folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty and not a phantom: name another folder, or empty this one.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    need, free = patients * 20e6 + 50e6, shutil.disk_usage(folder.parent).free
    if free < need:
        sizes = f"{free / 1e9:.1f} GB free and the phantom needs {need / 1e9:.1f} GB"
        raise UserError(f"{folder.parent} has {sizes}: free some space, or name another folder.")
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        _write_all(temporary, patients, seed, workers, progress)
        (temporary / "phantom.json").write_text(json.dumps(parameters) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder / "archive"


def _manifest(folder: Path) -> dict[str, int] | None:
    """Parameters of the phantom in a folder; None when it holds none."""
    try:
        found = json.loads((folder / "phantom.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and set(found) == {"patients", "seed", "version"} else None


def _write_all(folder: Path, patients: int, seed: int, workers: int | None, progress: bool) -> None:
    archive, truth = folder / "archive", folder / "truth"
    archive.mkdir(parents=True)
    truth.mkdir()
    numbers, empty = _numbers(patients, seed)
    tasks = [(str(archive), seed, number) for number in numbers]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = min(workers or usable, patients)
    bar = progress_bar(total=patients, desc="phantom", unit="patient", disable=not progress)
    results = []
    if workers == 1:
        for task in tasks:
            results.append(_write_patient(task))
            bar.update()
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for result in pool.map(_write_patient, tasks):
                results.append(result)
                bar.update()
    bar.close()

    notes = dict.fromkeys(empty, "")
    for number in numbers:
        patient = sample_patient(seed, number)
        notes[number] = write_note(
            np.random.default_rng([seed, number, 1]), [patient.discs[s.disc] for s in patient.slabs]
        )
    _write_notes(archive / "Radiologists Report.xlsx", notes)
    pd.DataFrame([row for result in results for row in result["discs"]]).to_csv(truth / "discs.csv", index=False)
    uids = [uid for result in results for uid in result["masks"]]
    shapes = [result["shape"] for result in results for _ in result["masks"]]
    bits = [bits for result in results for bits in result["masks"].values()]
    stops = np.cumsum([len(b) for b in bits])
    np.savez_compressed(
        truth / "masks.npz", uid=np.array(uids), shape=np.array(shapes), stop=stops, bits=np.concatenate(bits)
    )


class _Masks(Mapping):
    """Lesion masks by SOPInstanceUID, unpacked on access."""

    def __init__(self, path: Path):
        with np.load(path, allow_pickle=False) as data:
            self._shape, self._stop, self._bits = data["shape"], data["stop"], data["bits"]
            self._row = {str(uid): row for row, uid in enumerate(data["uid"])}

    def __getitem__(self, uid: str) -> np.ndarray:
        row = self._row[uid]
        rows, columns = self._shape[row]
        size = -(-rows * columns // 8)
        bits = np.unpackbits(self._bits[self._stop[row] - size : self._stop[row]], count=rows * columns)
        return bits.reshape(rows, columns).astype(bool)

    def __iter__(self):
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)


def load_truth(folder: str | Path) -> tuple[pd.DataFrame, Mapping[str, np.ndarray]]:
    """Read a phantom's truth.

    Parameters
    ----------
    folder : path
        What `write_phantom` was given.

    Returns
    -------
    discs : DataFrame
        A row per imaged disc: patient ("0001"), level, label, lesion, side, depth_mm, width_mm, severity (0 to 1),
        first_slice and central_slice (1-based, in the T2 axial series), slices, lesion_slices (with a lesion in them).
    masks : Mapping
        SOPInstanceUID of a T2 axial slice to its lesion mask, ``(rows, columns)`` bool.

    Raises
    ------
    UserError
        When `folder` holds no phantom.
    """
    truth = Path(folder) / "truth"
    if not (truth / "discs.csv").is_file():
        raise UserError(f"{truth} holds no phantom truth: write the phantom first, or name its folder.")
    discs = pd.read_csv(truth / "discs.csv", dtype={"patient": str}, keep_default_na=False)
    return discs, _Masks(truth / "masks.npz")
