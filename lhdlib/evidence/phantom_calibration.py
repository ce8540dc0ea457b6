"""Is the phantom as hard as the real notes? Its facts beside the archive's (`phantom.facts`), without any image."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from lhdlib.data import reports
from lhdlib.evaluate import delong, weighted_kappa
from lhdlib.phantom import facts
from lhdlib.phantom.anatomy import sample_patient
from lhdlib.phantom.disease import grade
from lhdlib.phantom.reading import read_patient

PATIENTS = 2400  # a share among them has a standard error of 0.01 at most, far below the tolerances
#: How far the phantom may be from the archive.
TOLERANCE = {"abnormal": 0.04, "kinds": 0.05, "agreement": 0.03, "kappa": 0.06, "AUC": 0.04}
OF_KIND = {"extrusion": "sequestration or extrusion", "sequestration": "sequestration or extrusion"}


class Read(NamedTuple):
    """Judgements of two readers on the lumbar discs of many patients."""

    discs: pd.DataFrame  #: a row per disc: patient, level, noted, second, severity, grade
    kinds: Counter[str]  #: abnormal levels by the kind that their note names, and "any"


def read_patients(seed: int, *, patients: int = PATIENTS) -> Read:
    """Draw patients of the phantom with a seed, and their notes; the notes are read as the archive's are."""
    rows, kinds = [], Counter[str]()
    for number in range(1, patients + 1):
        reading = read_patient(seed, sample_patient(seed, number))
        for disc, noted, second in zip(reading.discs, reading.noted, reading.second, strict=True):
            if disc.level in facts.ABNORMAL:
                rows.append((number, disc.level, noted, second, disc.severity, grade(disc.degeneration)))
        found = reports.parse_report(reading.note)
        named = {(f.level, OF_KIND.get(f.kind, f.kind)) for f in found if not f.negated and f.level in facts.ABNORMAL}
        kinds.update(kind for _, kind in named)
        kinds["any"] += len({level for level, kind in named if kind in facts.KINDS})
    return Read(pd.DataFrame(rows, columns=["patient", "level", "noted", "second", "severity", "grade"]), kinds)


def calibration_table(read: Read) -> pd.DataFrame:
    """Facts of the phantom beside the archive's.

    Returns
    -------
    DataFrame
        Columns fact, of (levels or kind), archive, phantom, tolerance (nan: told, not calibrated). Shares and AUCs from
        0 to 1; a correlation of the archive is its largest pair's.
    """
    rows = list(_rows(read))
    return pd.DataFrame(rows, columns=["fact", "of", "archive", "phantom", "tolerance"])


def _rows(read: Read) -> Iterator[tuple[str, str, float, float, float]]:
    discs, kinds = read
    lowest = discs[discs.level.isin(facts.LOWEST)]
    for level, share in facts.ABNORMAL.items():
        yield "abnormal by the notes", level, share, discs.noted[discs.level == level].mean(), TOLERANCE["abnormal"]
    for kind, share in facts.KINDS.items():
        yield "kind at abnormal levels", kind, share, kinds[kind] / kinds["any"], TOLERANCE["kinds"]
    for name, part in (("three lowest", lowest), ("all five", discs)):
        once = np.ones((1, len(part)))
        agreement, kappa = (float(v) for (v,) in weighted_kappa(part.noted.to_numpy(), part.second.to_numpy(), once))
        yield "two readers agree", name, facts.AGREEMENT[name], agreement, TOLERANCE["agreement"]
        yield "kappa of two readers", name, facts.KAPPA[name], kappa, TOLERANCE["kappa"]
    second = lowest.groupby("noted").second.mean()
    yield "second reader's sensitivity", "three lowest", facts.SECOND_SENSITIVITY, second[True], np.nan
    yield "second reader's false positives", "three lowest", facts.SECOND_FALSE_POSITIVES, second[False], np.nan
    auc = delong(lowest.noted.to_numpy(), lowest.grade.to_numpy()).value
    yield "AUC of the grade", "three lowest", facts.GRADE_AUC, auc, TOLERANCE["AUC"]
    for name, part in (("three lowest", lowest), ("all five", discs)):
        share = part.level.map(facts.ABNORMAL).to_numpy()
        yield "AUC of the level", name, facts.LEVEL_AUC[name], delong(part.noted.to_numpy(), share).value, np.nan
    wide = lowest.pivot(index="patient", columns="level", values="noted").astype(float)
    for one, other in combinations(facts.LOWEST, 2):
        real = facts.CORRELATION[(one, other) == ("L4-L5", "L3-L4")]
        yield "correlation of labels", f"{one}, {other}", real, wide[one].corr(wide[other]), np.nan
