"""Table of slices -> slabs, one per disc, with their levels -> three-slice samples.

A slab is a run of parallel, evenly spaced slices. Neighbouring slabs may differ in orientation or, where the spine is
straight, only by a gap. Levels are named from the lowest slab upwards; what does not fit is flagged, not guessed. A
doubt about one slab is a doubt about the levels of all above it, and about none below.
"""

from collections.abc import Collection
from statistics import median_low
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from lhdlib.data.dicom_file.region import DISAGREE, UNTOLD
from lhdlib.data.dicom_file.rules import SHARED_UID
from lhdlib.data.grammar.levels import LUMBAR_LEVELS

LEVELS = (*reversed(LUMBAR_LEVELS), "T12-L1", "T11-T12", "T10-T11")  # from the lowest upwards
UNKNOWN = "unknown"  # level of a T1 slab where the study has no T2 slab
SAME_ORIENTATION_DEG = 0.35  # real neighbouring slabs differ by 0.7 degrees and more; rounding noise is far smaller
GAP_FACTOR = 1.5  # a step of more than so many neighbouring steps begins a new slab
STEP_MM = (2.5, 7.5)  # a shorter step is one place imaged twice, a longer one a gap; the paper's slabs have 3.3-6.5
MAX_IN_SLAB, MAX_EXTENT_MM = 7, 35.0  # from the first to the last slice; beyond, a slab may cover several discs
DISC_MM = 26.0  # between the centres of neighbouring discs, the least that was seen
NEAR_MM = 15.0  # slabs with nearer centres show one disc, and so do, a little farther apart, two of few slices:
PIECES, PIECES_MM = 5, 20.0  # what is left of a slab without one of its inner slices
FAR, FAR_MM = 1.6, (50.0, 60.0)  # a disc is missing beyond so many of the study's usual steps, within these bounds
TORN = "a slice cannot be read"
REPEATED, BLOCK, GAP = "repeated slab or missing slice", "contiguous block over several discs", "gap between slabs"
PLACE = ["x", "y", "z", "normal_x", "normal_y", "normal_z"]
COLUMNS = ["patient", "study", "weighting", "level", "paths", "slices", "spacing", *PLACE, "flag"]


def group_discs(slices: pd.DataFrame) -> pd.DataFrame:
    """Group slices into slabs and name the disc level of each.

    Parameters
    ----------
    slices
        The table of `dicom.index_tree`, in any order.

    Returns
    -------
    pd.DataFrame
        A row per disc and weighting: ``patient, study, weighting, level``, ``paths`` (tuple, cranial to caudal), number
        of ``slices``, their ``spacing`` (mm), centre ``x, y, z`` (mm), normal, and ``flag``: empty, or why a person
        should look. Rows of one disc share patient, study and level; two slabs of one disc carry a flag.
    """
    rows = []
    for (patient, study), one_study in slices.groupby(["patient", "study"], sort=True):
        slabs = {w: _name(_slabs(table)) for w, table in one_study.groupby("weighting", sort=True)}
        if "T1" in slabs and "T2" in slabs:
            _link(slabs["T1"], slabs["T2"])
        for weighting, named in slabs.items():
            for slab in named:
                flag = "; ".join(dict.fromkeys(slab["faults"] + slab["doubts"]))
                rows.append(slab | {"patient": patient, "study": study, "weighting": weighting, "flag": flag})
    return _flag_second_studies(pd.DataFrame(rows, columns=COLUMNS))


def group_readable(slices: pd.DataFrame, unreadable: Collection[str]) -> pd.DataFrame:
    """Discs of the slices whose pixels can be read; one that has lost a slice carries a flag.

    Parameters
    ----------
    unreadable
        Paths of the other slices of the table.
    """
    found, lost = group_discs(slices[~slices.path.isin(unreadable)]), set(unreadable)
    if lost:
        torn = {path for paths in group_discs(slices).paths if lost & set(paths) for path in paths}
        less = found.paths.map(lambda paths: bool(torn & set(paths))).astype(bool)
        found.loc[less, "flag"] = [f"{flag}; {TORN}".removeprefix("; ") for flag in found.flag[less]]
    return found


def _slabs(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Slabs of one study and weighting, from the lowest upwards."""
    table = table.sort_values("path")  # so that equal depths have an order
    vectors = {v: table[[f"{v}_x", f"{v}_y", f"{v}_z"]].to_numpy() for v in ("row", "column", "normal")}
    centers = _centers(table)
    series = table.series.to_numpy()
    remarks = table.remark.to_numpy() if "remark" in table else np.full(len(table), "")
    found = []
    for members in _parallel(np.hstack([vectors["row"], vectors["column"]])):
        normal = vectors["normal"][members].mean(axis=0)
        normal /= np.linalg.norm(normal)
        depth = centers @ normal
        for run in (run for layer in _layers(members, depth, series) for run in _split_at_gaps(layer, depth)):
            steps = -np.diff(depth[run])
            found.append(
                {
                    "paths": tuple(table.path.to_numpy()[run]),
                    "slices": len(run),
                    "spacing": float(np.median(steps)) if steps.size else np.nan,
                    "extent": float(steps.sum()),
                    **dict(zip(PLACE, [*centers[run].mean(axis=0), *normal], strict=True)),
                    "faults": ["slices at one place"] * bool((steps < STEP_MM[0]).any()) + _doubts(remarks[run]),
                }
            )
    return sorted(found, key=lambda slab: slab["z"])


def _centers(table: pd.DataFrame) -> np.ndarray:
    """Centres of slices, mm, shape (n, 3)."""
    row, column = (table[[f"{v}_x", f"{v}_y", f"{v}_z"]].to_numpy() for v in ("row", "column"))
    width = (table.column_spacing * (table["columns"] - 1)).to_numpy()[:, None]
    height = (table.row_spacing * (table["rows"] - 1)).to_numpy()[:, None]
    return table[["x", "y", "z"]].to_numpy() + row * width / 2 + column * height / 2


def _doubts(remarks: np.ndarray) -> list[str]:
    """Remarks of the index on a slab's slices that are doubts; a UID that other images have as well is none."""
    return sorted({part for text in remarks for part in text.split("; ")} - {"", SHARED_UID})


def _parallel(orientations: np.ndarray) -> list[np.ndarray]:
    """Groups of rows that are linked by equal orientations (row and column vectors, shape (n, 6))."""
    different, which = np.unique(orientations.round(3), axis=0, return_inverse=True)
    pairs = KDTree(different).query_pairs(np.deg2rad(SAME_ORIENTATION_DEG), output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(different),) * 2)
    count, group = connected_components(links, directed=False)
    group = group[which.ravel()]
    return np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group, minlength=count))[:-1])


def _layers(members: np.ndarray, depth: np.ndarray, series: np.ndarray) -> list[np.ndarray]:
    """Parallel slices, cranial first; each series for itself where two series image the same place."""
    order = members[np.argsort(-depth[members], kind="stable")]
    if not (-np.diff(depth[order]) < STEP_MM[0]).any():
        return [order]
    return [order[series[order] == name] for name in dict.fromkeys(series[order])]


def _split_at_gaps(order: np.ndarray, depth: np.ndarray) -> list[np.ndarray]:
    """Runs of evenly spaced slices: a step is a gap beside its smaller neighbour, or beyond what a slab may have."""
    steps = -np.diff(depth[order])
    places = np.flatnonzero(steps >= STEP_MM[0])
    steps = steps[places]
    neighbour = np.minimum(np.append(steps[1:], np.inf), np.append(np.inf, steps[:-1]))
    gaps = (steps > GAP_FACTOR * neighbour[: len(steps)]) | (steps > STEP_MM[1])
    return np.split(order, places[gaps] + 1)


def _name(slabs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add ``level`` and ``doubts`` about it, and to ``faults`` what is wrong with a slab's neighbourhood."""
    places = _places(slabs)
    steps = _distance(places[1:], places[:-1]).tolist()
    far = np.clip(FAR * median_low(steps), *FAR_MM) if steps else np.inf
    for number, slab in enumerate(slabs):
        if _covers_several(slab, steps[max(number - 1, 0) : number + 1]):
            slab["faults"].append(BLOCK)
    disc = 0
    doubts: list[str] = []
    for number, slab in enumerate(slabs):
        if number:
            below, step = slabs[number - 1], steps[number - 1]
            few = below["slices"] + slab["slices"] <= PIECES
            if step < (PIECES_MM if few else NEAR_MM):  # two slabs of one disc
                below["faults"].append(REPEATED)
                slab["faults"].append(REPEATED)
            else:
                disc += 1
                reasons = [fault for fault in below["faults"] if fault in (REPEATED, BLOCK, DISAGREE, UNTOLD)]
                reasons += [GAP] * bool(step > far)
                doubts = doubts + [f"level uncertain: {reason} below" for reason in reasons]
        slab |= {"level": LEVELS[disc] if disc < len(LEVELS) else f"above {LEVELS[-1]}", "doubts": doubts}
    if disc >= len(LEVELS):
        for slab in slabs:
            slab["doubts"] = [*slab["doubts"], "level uncertain: more slabs than discs"]
    return slabs


def _covers_several(slab: dict[str, Any], steps: list[float]) -> bool:
    """Whether a long slab may hold several discs; `steps` to its neighbours' centres tell, whatever its slices.

    A slab with two discs in it is at least as long as they are apart, and the next disc is 1.5 times as far from its
    centre. A neighbour whose centre lies within the slab, or so near that it may be a piece of it, tells nothing;
    nor does any beside a slab with two slices at one place.
    """
    if slab["slices"] <= MAX_IN_SLAB and slab["extent"] <= MAX_EXTENT_MM:
        return False
    if slab["faults"]:
        return True
    limit = FAR_MM[0] if slab["extent"] < DISC_MM else 1.5 * DISC_MM
    return not any(max(PIECES_MM, slab["extent"] / 2) < step < limit for step in steps)


def _places(slabs: list[dict[str, Any]]) -> np.ndarray:
    """Centres and normals, shape (n, 6)."""
    return np.array([[slab[column] for column in PLACE] for slab in slabs])


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distance of slabs' centres along their mean normals, mm."""
    normal = one[..., 3:] + other[..., 3:]
    return np.abs((normal * (one[..., :3] - other[..., :3])).sum(-1)) / np.linalg.norm(normal, axis=-1)


def _link(t1: list[dict[str, Any]], t2: list[dict[str, Any]]) -> None:
    """Give T1 slabs the level of the T2 slab at their place: either weighting may lack a slab that the other has."""
    places, lowest = _places(t2), t2[0]
    bottom = lowest["z"] - lowest["extent"] / 2 * (BLOCK in lowest["faults"])  # a block has discs beneath its centre
    for number, (slab, place) in enumerate(zip(t1, _places(t1), strict=True)):
        distances = _distance(place, places)
        if number == 0 and distances.min() >= NEAR_MM and slab["z"] < bottom:
            for other in t2:
                other["doubts"] = [*other["doubts"], "level uncertain: a T1 slab lies below the lowest T2 slab"]
        linked = distances.min() < NEAR_MM
        partner = t2[int(distances.argmin())] if linked else {"level": UNKNOWN, "doubts": ["no T2 slab at this place"]}
        slab |= {"level": partner["level"], "doubts": partner["doubts"]}


def _flag_second_studies(discs: pd.DataFrame) -> pd.DataFrame:
    """A patient's note belongs to one study: with several T2 studies a person has to say which."""
    t2 = discs[discs.weighting == "T2"]
    studies = t2.groupby("patient").study.nunique()
    several = discs.patient.isin(studies.index[studies > 1])
    added = np.where(discs.flag == "", "", discs.flag + "; ") + "several studies of this patient"
    return discs.assign(flag=np.where(several, added, discs.flag))


def disc_samples(discs: pd.DataFrame, *, four_slices: str = "both") -> pd.DataFrame:
    """Three-slice samples of the lumbar T2 discs that carry no flag.

    Five slices give slices 2-4; four give 1-3 and 2-4 (section "Construction of the dataset"). Where the paper does not
    say, three give one sample, and six or more the central three.

    Parameters
    ----------
    four_slices : {"both", "upper"}
        Samples of a disc with four slices: as published, or the upper one only (profile, ``data.four_slices``).

    Returns
    -------
    pd.DataFrame
        ``patient, study, level, part, paths`` (three, cranial to caudal).
    """
    rows = []
    for disc in _usable(discs).itertuples():
        starts = sample_starts(len(disc.paths))
        for part, start in enumerate(starts if four_slices == "both" else starts[:1]):
            rows.append((disc.patient, disc.study, disc.level, part, disc.paths[start : start + 3]))
    return pd.DataFrame(rows, columns=["patient", "study", "level", "part", "paths"])


def sample_starts(count: int) -> list[int]:
    """First slice (from 0) of each sample of a disc with `count` slices."""
    if count < 3:
        return []
    return [0, 1] if count == 4 else [(count - 2) // 2]  # the more caudal ones where two are equally central


def sample_remark(count: int) -> str:
    """Which of a disc's `count` slices its sample has, where the paper does not say; empty for three to five."""
    if count <= 5:
        return ""
    first = sample_starts(count)[0] + 1
    as_central = f"; {first - 1} to {first + 1} are as central" if count % 2 == 0 else ""
    return f"{count} slices, from above: the sample has {first} to {first + 2}{as_central}"


def block_remarks(discs: pd.DataFrame, slices: pd.DataFrame) -> pd.Series:
    """Which slices of each block over several discs lie at a disc's centre, as far as anything tells; empty elsewhere.

    No disc is sought in images: only another slab of the study that lies within the block, such as one of T1 slices,
    tells where a disc is.

    Parameters
    ----------
    discs
        The table of `group_discs`, with its own flags.
    slices
        The table of `dicom.index_tree`.
    """
    is_block = discs.flag.str.split("; ").map(lambda faults: BLOCK in faults).astype(bool)
    remarks = pd.Series("", discs.index, dtype=object)
    table = slices.set_index("path")
    for row, block in discs[is_block].iterrows():
        normal = block[PLACE[3:]].to_numpy(float)
        depth = _centers(table.loc[list(block.paths)]) @ normal  # from above
        same = (discs[["patient", "study"]] == block[["patient", "study"]]).all(axis=1)
        crossings = []
        for slab in discs[same & ~is_block].itertuples():
            away = np.abs(depth - np.array([slab.x, slab.y, slab.z]) @ normal)
            if away.min() <= block.spacing:
                crossings.append((int(away.argmin()) + 1, slab.weighting))
        told = ", ".join(f"{number} ({weighting})" for number, weighting in sorted(set(crossings)))
        remarks[row] = f"{block.slices} slices over {depth[0] - depth[-1]:.0f} mm, from above; " + (
            f"nearest to the centres of the study's other slabs: {told}"
            if told
            else "no other slab tells where discs cross it: see the numbered lines on the review's sagittal image"
        )
    return remarks


def set_aside(discs: pd.DataFrame) -> pd.DataFrame:
    """T2 discs that give no sample: ``patient, study, level, reason``."""
    t2 = discs[discs.weighting == "T2"]
    reason = t2.flag.where(t2.flag == "", "to be reviewed: " + t2.flag)
    reason = reason.mask((reason == "") & ~t2.level.isin(LUMBAR_LEVELS), "not lumbar")
    reason = reason.mask((reason == "") & (t2.slices < 3), "fewer than three slices")
    return (
        t2.loc[reason != "", ["patient", "study", "level"]].assign(reason=reason[reason != ""]).reset_index(drop=True)
    )


def _usable(discs: pd.DataFrame) -> pd.DataFrame:
    return discs[(discs.weighting == "T2") & (discs.flag == "") & discs.level.isin(LUMBAR_LEVELS)]
