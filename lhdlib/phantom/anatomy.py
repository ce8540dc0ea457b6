"""Random patients: vertebral levels, discs with their lesions, and where a scanner would put its slabs."""

from dataclasses import dataclass

import numpy as np

LEVELS = ("L5-S1", "L4-L5", "L3-L4", "L2-L3", "L1-L2", "T12-L1", "T11-T12", "T10-T11")  #: from below
PIXEL, SPACING, THICKNESS = 0.6875, 4.4, 4.0  #: millimetres, axial


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
    phase: tuple[float, ...]


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
    return draw_patient(np.random.default_rng([seed, number]), number)


def draw_patient(rng: np.random.Generator, number: int) -> Patient:
    """Draw the anatomy of a patient."""
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
