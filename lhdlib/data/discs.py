"""Table of slices -> slabs, one per disc, with their levels -> three-slice samples.

A slab is a run of parallel, evenly spaced slices. Neighbouring slabs may differ in orientation or, where the spine is
straight, only by a gap. Levels are named from the lowest slab upwards; what does not fit is flagged, not guessed.
"""

import numpy as np
import pandas as pd

LEVELS = ("L5-S1", "L4-L5", "L3-L4", "L2-L3", "L1-L2", "T12-L1", "T11-T12", "T10-T11")  # from the lowest upwards
LUMBAR = frozenset(LEVELS[:5])
SAME_ORIENTATION_DEG = 0.35  # real neighbouring slabs differ by 0.7 degrees and more; rounding noise is far smaller
GAP_FACTOR = 1.5  # a step along the normal of more than so many usual steps begins a new slab
MAX_IN_SLAB = 7  # more slices than that are a contiguous block over several discs
DISC_STEP_MM = (15.0, 60.0)  # distance between the centres of neighbouring discs
COLUMNS = [
    "patient", "study", "weighting", "level", "paths", "slices", "spacing", "x", "y", "z", "normal_x", "normal_y",
    "normal_z", "flag",
]  # fmt: skip


def group_discs(slices: pd.DataFrame) -> pd.DataFrame:
    """Group slices into slabs and name the disc level of each.

    Parameters
    ----------
    slices : pd.DataFrame
        Of `dicom.index_tree`.

    Returns
    -------
    pd.DataFrame
        A row per disc and weighting: ``patient, study, weighting, level``, ``paths`` (tuple, cranial to caudal),
        number of ``slices``, their ``spacing`` (mm), centre ``x, y, z`` (mm), normal, and ``flag``: empty, or why a
        person should look. T1 and T2 rows of one disc share patient, study and level.
    """
    rows = []
    for (patient, study), one_study in slices.groupby(["patient", "study"], sort=True):
        for weighting, table in one_study.groupby("weighting", sort=True):
            slabs = _flag(_slabs(table))
            rows += [{"patient": patient, "study": study, "weighting": weighting} | slab for slab in slabs]
    return _flag_second_studies(pd.DataFrame(rows, columns=COLUMNS))


def _slabs(table: pd.DataFrame) -> list[dict]:
    """Slabs of one study and weighting, from the lowest upwards."""
    normals = table[["normal_x", "normal_y", "normal_z"]].to_numpy()
    corners = table[["x", "y", "z"]].to_numpy()
    rows, columns = (table[[f"{v}_x", f"{v}_y", f"{v}_z"]].to_numpy() for v in ("row", "column"))
    width = (table.column_spacing * table["columns"]).to_numpy()[:, None]
    height = (table.row_spacing * table["rows"]).to_numpy()[:, None]
    centers = corners + rows * width / 2 + columns * height / 2
    found = []
    for members in _parallel(normals):
        normal = normals[members].mean(axis=0)
        depth = centers[members] @ normal
        order = members[np.argsort(-depth)]  # cranial first
        for run in _split_at_gaps(order, np.sort(depth)[::-1]):
            depths = centers[run] @ normal
            found.append(
                {
                    "paths": tuple(table.path.to_numpy()[run]),
                    "slices": len(run),
                    "spacing": float(np.median(-np.diff(depths))) if len(run) > 1 else np.nan,
                    **dict(zip("xyz", centers[run].mean(axis=0), strict=True)),
                    **dict(zip(("normal_x", "normal_y", "normal_z"), normal, strict=True)),
                }
            )
    return sorted(found, key=lambda slab: slab["z"])


def _parallel(normals: np.ndarray) -> list[np.ndarray]:
    """Groups of rows whose normals agree with the group's first."""
    limit = np.cos(np.deg2rad(SAME_ORIENTATION_DEG))
    left, groups = np.arange(len(normals)), []
    while left.size:
        same = normals[left] @ normals[left[0]] >= limit * np.linalg.norm(normals[left[0]])
        groups.append(left[same])
        left = left[~same]
    return groups


def _split_at_gaps(order: np.ndarray, depth: np.ndarray) -> list[np.ndarray]:
    steps = -np.diff(depth)
    if not steps.size:
        return [order]
    # the lower quartile is a step within a slab as long as most slabs have three slices or more
    usual = np.quantile(steps[steps > 0.1], 0.25) if (steps > 0.1).any() else np.inf
    return np.split(order, np.flatnonzero(steps > GAP_FACTOR * usual) + 1)


def _flag(slabs: list[dict]) -> list[dict]:
    reasons: list[list[str]] = [[] for _ in slabs]
    for number, slab in enumerate(slabs):
        if slab["slices"] > MAX_IN_SLAB:
            reasons[number].append("contiguous block over several discs")
        if slab["spacing"] < 0.5:
            reasons[number].append("slices at one place")
    for low, (below, above) in enumerate(zip(slabs, slabs[1:], strict=False)):
        step = np.linalg.norm([above[a] - below[a] for a in "xyz"])
        if step < DISC_STEP_MM[0]:
            for number in (low, low + 1):
                reasons[number].append("repeated slab")
        elif step > DISC_STEP_MM[1]:
            for number in range(low + 1, len(slabs)):
                reasons[number].append("level uncertain: gap between slabs below")
    if len(slabs) > len(LEVELS) or any(
        "repeated slab" in r or "contiguous block over several discs" in r for r in reasons
    ):
        for number in range(len(slabs)):
            reasons[number].append("level uncertain: number of slabs does not fit")
    return [
        slab | {"level": LEVELS[n] if n < len(LEVELS) else "above " + LEVELS[-1], "flag": "; ".join(dict.fromkeys(r))}
        for n, (slab, r) in enumerate(zip(slabs, reasons, strict=True))
    ]


def _flag_second_studies(discs: pd.DataFrame) -> pd.DataFrame:
    """A patient's note belongs to one study: with several T2 studies a person has to say which."""
    t2 = discs[discs.weighting == "T2"]
    studies = t2.groupby("patient").study.nunique()
    several = discs.patient.isin(studies.index[studies > 1])
    added = np.where(discs.flag == "", "", discs.flag + "; ") + "several studies of this patient"
    return discs.assign(flag=np.where(several, added, discs.flag))


def disc_samples(discs: pd.DataFrame) -> pd.DataFrame:
    """Three-slice samples of the lumbar T2 discs that carry no flag.

    Five slices give slices 2-4; four give 1-3 and 2-4 (section "Construction of the dataset"). The paper does not say
    what becomes of others: three give one sample, six and more the central three (the more caudal ones where two
    choices are equally central).

    Parameters
    ----------
    discs : pd.DataFrame
        Of `group_discs`.

    Returns
    -------
    pd.DataFrame
        ``patient, study, level, part, paths`` (three, cranial to caudal).
    """
    rows = []
    for disc in _usable(discs).itertuples():
        for part, start in enumerate(sample_starts(len(disc.paths))):
            rows.append((disc.patient, disc.study, disc.level, part, disc.paths[start : start + 3]))
    return pd.DataFrame(rows, columns=["patient", "study", "level", "part", "paths"])


def sample_starts(count: int) -> list[int]:
    """First slice (from 0) of each sample of a disc with `count` slices."""
    if count < 3:
        return []
    return [0, 1] if count == 4 else [(count - 2) // 2]


def set_aside(discs: pd.DataFrame) -> pd.DataFrame:
    """T2 discs that give no sample: ``patient, level, reason``."""
    t2 = discs[discs.weighting == "T2"]
    reason = t2.flag.where(t2.flag == "", "to be reviewed: " + t2.flag)
    reason = reason.mask((reason == "") & ~t2.level.isin(LUMBAR), "not lumbar")
    reason = reason.mask((reason == "") & (t2.slices < 3), "fewer than three slices")
    return t2.loc[reason != "", ["patient", "level"]].assign(reason=reason[reason != ""]).reset_index(drop=True)


def _usable(discs: pd.DataFrame) -> pd.DataFrame:
    return discs[(discs.weighting == "T2") & (discs.flag == "") & discs.level.isin(LUMBAR)]
