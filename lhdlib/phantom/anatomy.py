"""Random patients: vertebral levels, discs with their disease, and where a scanner would put its slabs.

A patient is a chain of discs with local frames (u: left, v: posterior, w: cranial; the origin is the middle of the
posterior disc margin; millimetres).
"""

from dataclasses import dataclass

import numpy as np

from lhdlib.phantom.disease import (
    LEVELS,
    Displacement,
    Tear,
    random_degeneration,
    random_displacement,
    random_severities,
    random_tear,
)

SPACING, THICKNESS = 4.4, 4.0  #: axial slices, millimetres
# Axial matrix and field of view (millimetres): the archive's, and what scanners do otherwise, as often as that.
USUAL_MATRIX, USUAL_FIELD, OTHERWISE = 320, 220.0, 0.3
MATRICES, FIELDS = (256, 320, 384), (200.0, 220.0, 240.0)

# Means by level, in the order of LEVELS; lengths in millimetres.
TILT = (24, 9, 1, -4, -8, -9, -8, -6)  # degrees
HEIGHT = (9.5, 11, 10.5, 9.8, 9, 8, 7, 6.5)
HALF_WIDTH = (25.5, 25.5, 25, 24, 23, 22, 21, 20)
HALF_DEPTH = (17, 17.5, 17.5, 17, 16.5, 16, 15, 14.5)
SAC_HALF_WIDTH = (7.6, 8.8, 9.2, 9.4, 9.4, 9.2, 8.6, 8.6)
SAC_HALF_DEPTH = (5.8, 6.6, 7.0, 7.2, 7.2, 7.2, 7.0, 7.0)
SAC_GAP = (3.2, 1.4, 1.0, 0.9, 0.8, 0.8, 0.8, 0.8)  # from the disc to the sac
VERTEBRA = 26.5  # height of a vertebral body
ORIGIN = (20.0, -75.0)  # y and z of L5-S1

SLABS = {3: 0.84, 4: 0.1, 5: 0.04, 6: 0.02}  #: discs that are imaged, with their shares of patients
# Slices of a slab -> slices above its disc's middle. The publishers' central slice is the third of four and of five.
SLICES_ABOVE = {3: 1, 4: 2, 5: 2, 6: 3}


@dataclass(frozen=True)
class Disc:
    """One disc with the canal behind it; lengths in millimetres, angles in radians."""

    level: str
    severity: float  #: of the disease
    degeneration: float  #: 0 to 1
    displacement: Displacement
    tear: Tear | None
    origin: tuple[float, float, float]  #: middle of the posterior margin: x to the left, y backwards, z upwards
    tilt: float  #: about x
    height: float
    half_width: float
    half_depth: float
    concavity: float  #: of the posterior margin
    nucleus: float  #: T2 signal, from the annulus' (0) to a healthy nucleus' (1)
    sac: tuple[float, float]  #: half width and half depth
    gap: float  #: between disc and sac
    flavum: float  #: thickness of the ligament
    facet: float  #: size of the facet joints, 1 is usual
    infiltration: float  #: share of the back muscles that is fat
    phase: tuple[float, float]  #: of the pattern of nerve roots
    rotation: float  #: about w

    @property
    def abnormal(self) -> bool:
        """The truth, whatever a reader says."""
        return self.severity > 0


@dataclass(frozen=True)
class Slab:
    """The axial slices of one disc: offsets in millimetres along the normal, from the top; angles in radians."""

    disc: int  #: number in `Patient.discs`
    tilt: float  #: about x
    roll: float  #: about y
    offsets: tuple[float, ...]


@dataclass(frozen=True)
class Patient:
    """Everything random about one patient, except texture and noise; millimetres, radians."""

    number: int
    discs: tuple[Disc, ...]  #: in the order of LEVELS
    slabs: tuple[Slab, ...]  #: from the top
    fat_thickness: float  #: under the skin
    muscle_scale: float
    centre: tuple[float, float]  #: of an axial image, from the disc
    saturation: float  #: from the front of the vertebrae to the saturation band
    coil: float  #: depth at which the coil's sensitivity has fallen to 1/e
    coil_slope: float  #: what the sensitivity gains per millimetre to the left
    bend: tuple[float, float]  #: contrast in T1 and T2: above 0, middle tones are brighter
    ghost: tuple[float, int]  #: share of the signal that motion displaces, and by how many rows
    stripe: tuple[float, float]  #: signal that a crossing slab takes (a share), and v where it does so
    noise: float  #: relative to fat's signal
    gain: float  #: grey value of fat's signal
    marrow: float  #: signal relative to the tissue table
    pixel: float
    rows: int
    columns: int


def sample_patient(seed: int, number: int) -> Patient:
    """Anatomy of the patient with a number (from 1) in the phantom with a seed, without rendering."""
    return random_patient(np.random.default_rng([seed, number]), number)


def random_patient(rng: np.random.Generator, number: int) -> Patient:
    """Draw a patient; `rng` goes on from there to the patient's texture and noise."""
    count = int(rng.choice(list(SLABS), p=list(SLABS.values())))
    discs = _random_discs(rng)
    pixel, rows, columns = _random_matrix(rng)
    return Patient(
        number=number,
        discs=discs,
        slabs=_random_slabs(rng, np.array([disc.tilt for disc in discs]), count),
        fat_thickness=float(np.clip(rng.gamma(2.8, 5), 3, 40)),
        muscle_scale=float(np.clip(rng.normal(1, 0.08), 0.8, 1.25)),
        centre=(float(rng.normal(0, 3.5)), float(-15 + rng.normal(0, 4.5))),
        saturation=float(rng.uniform(6, 24)),
        coil=float(rng.uniform(32, 84)),
        coil_slope=float(np.clip(rng.normal(0, 0.0012), -0.003, 0.003)),
        bend=(float(rng.uniform(-0.35, 0.15)), float(rng.uniform(-0.35, 0.15))),
        ghost=(float(rng.uniform(0.01, 0.05) * (rng.random() < 0.35)), int(rng.integers(25, rows // 2))),
        stripe=(float(rng.uniform(0.3, 0.7) * (rng.random() < 0.25)), float(rng.uniform(40, 75))),
        noise=float(rng.uniform(0.01, 0.03)),
        gain=float(rng.uniform(700, 1300)),
        marrow=float(np.clip(rng.normal(1, 0.15), 0.6, 1.5)),
        pixel=pixel,
        rows=rows,
        columns=columns,
    )


def _random_matrix(rng: np.random.Generator) -> tuple[float, int, int]:
    """Side of a pixel, rows and columns of the axial slices."""
    matrix, field, other, narrow = rng.choice(MATRICES), rng.choice(FIELDS), rng.random(), rng.random()
    if other < OTHERWISE:
        return float(field / matrix), int(matrix), int(matrix)
    return USUAL_FIELD / USUAL_MATRIX, USUAL_MATRIX, USUAL_MATRIX - 10 * (narrow < 0.04)


def _random_discs(rng: np.random.Generator) -> tuple[Disc, ...]:
    """All discs of a patient from below."""
    n = len(LEVELS)
    severity = random_severities(rng)
    degeneration = random_degeneration(rng, severity)
    size = float(np.clip(rng.normal(1, 0.055), 0.86, 1.16))
    tilts = np.radians(np.array(TILT) + rng.normal(0, 2.5, n) + rng.normal(0, 2))
    heights = np.clip(np.array(HEIGHT) * size * (1 - 0.28 * degeneration) * rng.normal(1, 0.06, n), 6, 13)
    curve = rng.normal(0, 3.5) * np.sin(np.pi * np.arange(n) / 5)  # slight scoliosis, and the turn that comes with it
    sideways = curve + np.cumsum(rng.normal(0, 0.8, n))
    rotations = np.radians(rng.normal(0, 2.5) + 0.5 * curve + rng.normal(0, 0.7, n))
    y, z = ORIGIN
    discs = []
    for k in range(n):
        if k:
            middle = (tilts[k] + tilts[k - 1]) / 2
            step = size * VERTEBRA + (heights[k] + heights[k - 1]) / 2
            y, z = y - step * np.sin(middle), z + step * np.cos(middle)
        frame = (float(sideways[k]), float(y), float(z)), float(tilts[k]), float(rotations[k])
        discs.append(_random_disc(rng, k, severity[k], degeneration[k], size, float(heights[k]), frame))
    return tuple(discs)


def _random_disc(
    rng: np.random.Generator,
    k: int,
    severity: float,
    degeneration: float,
    size: float,
    height: float,
    frame: tuple[tuple[float, float, float], float, float],
) -> Disc:
    """One disc; its degeneration moves what one sees of it only on average."""
    half_width = HALF_WIDTH[k] * size * rng.normal(1, 0.03)
    displacement = random_displacement(rng, severity, half_width)
    narrow = 1 - 0.16 * np.clip(degeneration - 0.3 + rng.normal(0, 0.15), 0, 1)
    return Disc(
        level=LEVELS[k],
        severity=float(severity),
        degeneration=float(degeneration),
        displacement=displacement,
        tear=random_tear(rng, severity, displacement),
        origin=frame[0],
        tilt=frame[1],
        rotation=frame[2],
        height=height,
        half_width=float(half_width),
        half_depth=float(HALF_DEPTH[k] * size * rng.normal(1, 0.03)),
        concavity=float(np.clip(rng.normal(0.8 if k == 0 else 1.5, 0.6), 0, 3)),
        nucleus=float(np.clip(1.05 - 1.15 * degeneration + rng.normal(0, 0.16), 0.03, 1)),
        sac=(
            float(SAC_HALF_WIDTH[k] * narrow * rng.normal(1, 0.07)),
            float(SAC_HALF_DEPTH[k] * narrow * rng.normal(1, 0.07)),
        ),
        gap=float(SAC_GAP[k] * rng.uniform(0.7, 1.3)),
        flavum=float(np.clip(2.2 + 2.4 * degeneration + rng.normal(0, 0.6), 1.5, 5.5)),
        facet=float(np.clip(0.88 + 0.34 * degeneration + rng.normal(0, 0.07), 0.75, 1.35)),
        infiltration=float(np.clip(0.26 + 0.5 * degeneration + rng.normal(0, 0.12) + 0.08 * (k < 2), 0, 0.9)),
        phase=(float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0, 2 * np.pi))),
    )


def _random_slabs(rng: np.random.Generator, tilts: np.ndarray, count: int) -> tuple[Slab, ...]:
    """Slabs of the lowest discs, from the top: the lowest follows its disc, the others are nearly parallel."""
    usual = int(rng.choice([4, 5], p=[0.45, 0.55]))
    blocks = rng.random() < 0.45  # all slabs above the lowest exactly parallel, apart only by a gap
    share, common = rng.uniform(0.5, 0.9), tilts[1:count].mean() + np.radians(rng.normal(0, 1))
    roll = np.radians(rng.normal(0, 1.6))
    slabs = []
    for k in reversed(range(count)):
        tilt = tilts[0] * rng.uniform(0.75, 1.05) if k == 0 else common + share * (tilts[k] - common) * (not blocks)
        slices = int(rng.choice([3, 6])) if rng.random() < 0.03 else usual
        first = SLICES_ABOVE[slices] * SPACING + rng.uniform(-1.2, 1.2)
        turned = roll if blocks and k else roll + np.radians(rng.normal(0, 0.6))
        slabs.append(Slab(k, float(tilt), float(turned), tuple(float(first - SPACING * i) for i in range(slices))))
    return tuple(slabs)
