"""Disease: how severe each disc's is, what of it can be seen, and how two readers judge it.

A disc's severity is a normal variable of unit spread within its level; above 0 the disc is truly abnormal. The severity
sets how far disc material leaves the margin, of normal discs too: a healthy disc bulges a little. A reader adds an
error of judgement to the severity and calls abnormal what comes out above 0. The levels' means are such that the notes
call as many discs abnormal as the archive's (`facts.ABNORMAL`); the error never enters an image.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from lhdlib.phantom import facts

LEVELS = ("L5-S1", "L4-L5", "L3-L4", "L2-L3", "L1-L2", "T12-L1", "T11-T12", "T10-T11")  #: from below

READER_ERROR = 0.6  #: spread of a reader's error, in units of the severity's
LENIENCY = 0.35  #: by so much lower is the second reader's threshold, who reports more than the notes do
SHARED = 0.2  #: share of the severity's variance that all discs of a patient have in common


def mean_severity(share: float) -> float:
    """Mean severity of a level of whose discs a reader calls this share abnormal."""
    return float(np.sqrt(1 + READER_ERROR**2)) * NormalDist().inv_cdf(share)


# Thoracic discs have no notes: they are taken to be as healthy as L1-L2.
MEANS = tuple(mean_severity(facts.ABNORMAL.get(level, facts.ABNORMAL["L1-L2"])) for level in LEVELS)

# Degeneration (0 to 1): mean by level, spread over patients and over a patient's discs, and what a unit of severity
# adds, with which the grade predicts the notes as well as the real one does.
DEGENERATION = (0.52, 0.53, 0.42, 0.31, 0.24, 0.2, 0.2, 0.2)
OF_PATIENT, OF_DISC, OF_SEVERITY = 0.13, 0.083, 0.1

# Displacement of the posterior margin. No public figure gives millimetres per unit of severity: this is our choice, so
# that the threshold lies at a depth that is seen on three pixels, and physiological bulging reaches down to nothing.
AT_THRESHOLD, MM_BELOW, MM_ABOVE = 2.0, 1.5, 2.4  # mm at severity 0; mm a unit below and above it
FOCAL = 1.25  # a focal displacement is so much deeper
DEEPEST_BULGE, DEEPEST = 5.0, 11.0  # mm
ALWAYS_FOCAL = 2.0  # severity from which on a displacement is focal; below it, a share of them is
FOCAL_SHARE, EXTRUDED_SHARE = 0.185, 0.22  # of the discs below; of those from there on
FREE_SHARE = 0.75  # of the extruded ones: sequestrated
TEAR_SHARE = 0.065  # of the truly abnormal discs; a tear never decides a label
PLACES = ("central", "left paracentral", "right paracentral", "left foraminal", "right foraminal")


@dataclass(frozen=True)
class Displacement:
    """Disc material beyond the margin, physiological or not; lengths in millimetres."""

    kind: str  #: bulge, protrusion, extrusion or sequestration
    side: str  #: diffuse, central, left/right paracentral, left/right foraminal
    depth: float  #: 0: nothing leaves the margin
    width: float
    centre: float  #: u, positive to the patient's left
    migration: float = 0.0  #: w of the extruded fragment, negative caudal
    signal: float = 1.0  #: T2 signal relative to the annulus'


@dataclass(frozen=True)
class Tear:
    """Fissure of the annulus; lengths in millimetres."""

    width: float
    depth: float
    centre: float  #: u, positive to the patient's left


def random_severities(rng: np.random.Generator) -> np.ndarray:
    """Severity of each disc of a patient, in the order of LEVELS."""
    own = rng.standard_normal(len(LEVELS))
    return np.array(MEANS) + np.sqrt(SHARED) * rng.standard_normal() + np.sqrt(1 - SHARED) * own


def random_degeneration(rng: np.random.Generator, severity: np.ndarray) -> np.ndarray:
    """Degeneration (0 to 1) of each disc of a patient, which follows the severity loosely."""
    spread = rng.normal(0, OF_PATIENT) + rng.normal(0, OF_DISC, len(LEVELS))
    return np.clip(DEGENERATION + OF_SEVERITY * (severity - MEANS) + spread, 0.02, 0.98)


def grade(degeneration: float) -> int:
    """Grade of degeneration, 1 to 5 as Pfirrmann's."""
    return 1 + int(5 * degeneration)


def depth_of(severity: float, *, focal: bool) -> float:
    """Millimetres by which a disc of a severity leaves its margin."""
    depth = AT_THRESHOLD + (MM_ABOVE if severity > 0 else MM_BELOW) * severity
    return float(np.clip(depth * FOCAL, 0, DEEPEST) if focal else np.clip(depth, 0, DEEPEST_BULGE))


def random_displacement(rng: np.random.Generator, severity: float, half_width: float) -> Displacement:
    """Draw what leaves the margin of a disc so wide; broad or focal whatever the severity, unless it is very high."""
    # All that may be needed is drawn, whichever is used.
    narrow, extruded, free = rng.random(3) < (FOCAL_SHARE, EXTRUDED_SHARE, FREE_SHARE)
    places = rng.integers(len(PLACES)), rng.integers(3)
    central, paracentral, foraminal = rng.normal(0, 1), rng.uniform(5, 9), rng.uniform(0.62, 0.74) * half_width
    width, far, down = rng.uniform(10, 18), rng.uniform(3, 8), rng.choice([-1, 1], p=[0.7, 0.3])
    signal = rng.uniform(0.75, 1.0)

    severe = severity >= ALWAYS_FOCAL
    if not (narrow or severe):
        return Displacement("bulge", "diffuse", depth_of(severity, focal=False), 2 * half_width, 0.0)
    kind = ("sequestration" if free else "extrusion") if severe and extruded else "protrusion"
    side = PLACES[places[0] if kind == "protrusion" else places[1]]
    centre = {"central": central, "foraminal": foraminal}.get(side.split()[-1], paracentral)
    return Displacement(
        kind,
        side,
        depth_of(severity, focal=True),
        float(width),
        float(-centre if side.startswith("right") else centre),
        float(down * (far + 4 * (kind == "sequestration"))) if kind != "protrusion" else 0.0,
        float(signal),
    )


def random_tear(rng: np.random.Generator, severity: float, displacement: Displacement) -> Tear | None:
    """A tear beside what some of the abnormal discs have else."""
    torn, width, depth = rng.random() < TEAR_SHARE, rng.uniform(5, 9), rng.uniform(1.8, 2.6)
    centre = rng.uniform(-8, 8) if displacement.side == "diffuse" else displacement.centre * rng.uniform(0.5, 1)
    return Tear(float(width), float(depth), float(centre)) if torn and severity > 0 else None


def judge(rng: np.random.Generator, severity: np.ndarray, *, leniency: float = 0.0) -> np.ndarray:
    """Which discs a reader calls abnormal."""
    return severity + rng.normal(0, READER_ERROR, len(severity)) > -leniency
