"""Are the heatmaps faithful to the classifier? Deletion and insertion, sanity checks, class dependence."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage, special, stats

from lhdlib import gradcam
from lhdlib.evaluate import Estimate, patient_mean
from lhdlib.evidence.localise import over_slices, rank_correlation
from lhdlib.model import inference
from lhdlib.progress import progress_bar

CHANGED = 0.5  #: below this rank correlation a map counts as changed
SHARES = np.linspace(0, 1, 9)  #: of pixels deleted or inserted
DISCS = 30  #: whose deletion and insertion curves are drawn


def perturb(
    extractor: keras.Model,
    slices: np.ndarray,
    heat: np.ndarray,
    weights: np.ndarray,
    bias: float,
    *,
    shares: np.ndarray = SHARES,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Deletion and insertion curves (Petsiuk et al. 2018, arXiv:1806.07421): the probability while pixels are swapped.

    In each of the three slices the same share of pixels, the hottest first, is replaced by the blurred slice
    (deletion), or restored in the blurred slice (insertion).

    Parameters
    ----------
    slices, heat : shape (n, 3, W, W)
    weights : shape (3, d)
    shares : shape (k,)
        In [0, 1].

    Returns
    -------
    deletion, insertion : np.ndarray, shape (n, k)
        Probability that the disc is abnormal.
    """
    size = slices.shape[-1]
    blurred = ndimage.gaussian_filter(slices, (0, 0, size / 8, size / 8), mode="nearest")
    flat = heat.reshape(*heat.shape[:2], -1)
    noise = np.random.default_rng([seed, 52]).random(flat.shape, np.float32)
    # 0 is the hottest; equally hot pixels go in random order
    rank = np.lexsort((noise, -flat)).argsort(axis=-1).reshape(heat.shape)
    curves = []
    for share in shares:
        swapped = rank < round(share * size**2)
        pair = np.where(swapped, blurred, slices), np.where(swapped, slices, blurred)
        curves.append([_probability(extractor, changed, weights, bias) for changed in pair])
    return tuple(np.transpose(curves, (1, 2, 0)))


def _probability(
    extractor: keras.Model, slices: np.ndarray, weights: np.ndarray, bias: float, batch: int = 32
) -> np.ndarray:
    logits, compute = [], inference.forward(extractor)
    for start in range(0, len(slices), batch):
        part = slices[start : start + batch]
        features = compute(tf.constant(part.reshape(-1, *part.shape[2:], 1)))[0].numpy()
        logits.append((features.reshape(len(part), *weights.shape) * weights).sum(axis=(1, 2)) + bias)
    return special.expit(np.concatenate(logits))


def faithfulness(
    extractor: keras.Model,
    slices: np.ndarray,
    maps: Mapping[str, np.ndarray],
    weights: np.ndarray,
    bias: float,
    patients: np.ndarray,
    *,
    where: gradcam.Cells | None = None,
    seed: int = 0,
) -> dict:
    """Deletion and insertion of several kinds of maps and of random ones, with paired differences.

    Parameters
    ----------
    slices : shape (n, 3, W, W)
        As the network sees them.
    maps : mapping of kind -> np.ndarray, shape (n, 3, u, v)
    weights : shape (3, d)
    patients : shape (n,)
    where
        Of the cells on such a slice.

    Returns
    -------
    dict
        ``deletion``, ``insertion``: each kind's mean ``curve`` at ``shares``, ``area`` below a disc's curve (``value,
        low, high``), and ``difference`` from ``random``; ``shares``; ``discs``.
    """
    shape = next(iter(maps.values())).shape
    kinds = {**maps, "random": np.random.default_rng([seed, 53]).random(shape, np.float32)}
    found = {}
    for kind, values in progress_bar(kinds.items(), desc="deletion and insertion"):
        heat = gradcam.upsample(gradcam.normalise(values), slices.shape[-1], where=where)
        found[kind] = perturb(extractor, slices, heat, weights, bias, seed=seed)
    result: dict = {"shares": SHARES.tolist(), "discs": len(slices)}
    for place, name in enumerate(("deletion", "insertion")):
        curves = {kind: pair[place] for kind, pair in found.items()}
        areas = {kind: np.trapezoid(curve, SHARES, axis=1) for kind, curve in curves.items()}
        result[name] = {
            "curve": {kind: curve.mean(axis=0).tolist() for kind, curve in curves.items()},
            "area": {
                kind: patient_mean(area, patients, reach=(0.0, 1.0), seed=seed)._asdict()
                for kind, area in areas.items()
            },
            "difference": {
                kind: patient_mean(areas[kind] - areas["random"], patients, seed=seed)._asdict() for kind in maps
            },
        }
    return result


def similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Rank correlation of the cells of maps (n, 3, u, v), mean over the three slices; nan where no slice has one."""
    flat = (maps.reshape(*maps.shape[:2], -1) for maps in (one, other))
    found = rank_correlation(*flat)
    return over_slices(np.nan_to_num(found), np.isfinite(found))


def sanity(
    maps: Mapping[str, np.ndarray],
    changed: Mapping[str, Mapping[str, np.ndarray]],
    patients: np.ndarray,
    *,
    seed: int = 0,
) -> dict:
    """Rank correlation of maps with those of a randomised model (Adebayo et al. 2018, arXiv:1810.03292).

    Parameters
    ----------
    maps : kind -> np.ndarray, shape (n, 3, u, v)
        With the trained model.
    changed : check -> kind -> np.ndarray, shape (n, 3, u, v)
        The same discs after a change.
    patients : shape (n,)

    Returns
    -------
    dict
        kind -> check -> ``value, low, high``, ``verdict``: "passes" when the interval lies below `CHANGED`, "fails"
        when above, else "undecided". ``another disc``, without verdict, compares two patients.
    """
    other = _other_patient(patients, seed)
    result: dict = {}
    for kind, before in maps.items():
        result[kind] = {"another disc": patient_mean(similarity(before, before[other]), patients, seed=seed)._asdict()}
        for check, after in changed.items():
            correlation = similarity(before, after[kind])
            if np.isfinite(correlation).any():  # else the change left no map of the kind any heat
                estimate = patient_mean(correlation, patients, seed=seed)
                result[kind][check] = estimate._asdict() | {"verdict": _verdict(estimate)}
    return result


def shared(maps: Mapping[str, np.ndarray], patients: np.ndarray, *, seed: int = 0) -> dict:
    """How much of the maps all discs share: rank correlation of a disc's map with another patient's.

    Parameters
    ----------
    maps : mapping of kind -> np.ndarray, shape (n, 3, u, v)
        With ``paper``.
    patients : shape (n,)

    Returns
    -------
    dict
        ``likeness``: kind -> ``value, low, high``; ``difference``: the paper's minus that of each other kind.
    """
    other = _other_patient(patients, seed)
    alike = {kind: similarity(values, values[other]) for kind, values in maps.items()}
    gaps = {kind: alike["paper"] - values for kind, values in alike.items() if kind != "paper"}
    return {
        name: {kind: patient_mean(values, patients, seed=seed)._asdict() for kind, values in found.items()}
        for name, found in (("likeness", alike), ("difference", gaps))
    }


def class_dependence(
    trained: gradcam.Explained, opposite: gradcam.Explained, plain: np.ndarray, patients: np.ndarray, *, seed: int = 0
) -> dict:
    """Class dependence of the maps, and what they are made of.

    Parameters
    ----------
    trained, opposite
        With the classifier, and with its weights and bias negated.
    plain : shape (n, 3, u, v)
        The plain mean of the channels.
    patients : shape (n,)

    Returns
    -------
    dict
        ``channels``: the 3n of Eq. 18; ``effective``: how many share the weight w. Rank correlations (`similarity`):
        ``classic``, of both methods; ``plain``, with the plain mean; ``opposite``, of the two classes' maps;
        ``most_changed``: the largest difference between these.
    """
    weights = trained.weights.reshape(len(trained.weights), -1)
    channels = weights.shape[1]
    reach = 1.0, float(channels)
    # An entropy's exponential is the number of equal weights that have it.
    effective = patient_mean(np.exp(stats.entropy(weights, axis=1)), patients, reach=reach, seed=seed)

    def correlation(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
        return patient_mean(similarity(one, other), patients, seed=seed)._asdict()

    both = {"paper": (trained.maps, opposite.maps), "classic": (trained.classic, opposite.classic)}
    return {
        "channels": channels,
        "effective": effective._asdict(),
        "classic": correlation(trained.maps, trained.classic),
        # A classifier without weights has the plain mean as its map: Eq. 18 is uniform then.
        "plain": {kind: correlation(own, plain) for kind, (own, _) in both.items()},
        "opposite": {kind: float(np.nanmean(similarity(own, other))) for kind, (own, other) in both.items()},
        "most_changed": {kind: float(np.abs(own - other).max()) for kind, (own, other) in both.items()},
    }


def _verdict(correlation: Estimate) -> str:
    if correlation.high < CHANGED:
        return "passes"
    return "fails" if correlation.low >= CHANGED else "undecided"


def _other_patient(patients: np.ndarray, seed: int) -> np.ndarray:
    """For each sample the row of a random one of another patient (of itself where there is none)."""
    rng = np.random.default_rng([seed, 54])
    patients, everyone = np.asarray(patients), np.arange(len(patients))
    return np.array(
        [
            rng.choice(everyone[patients != p]) if (patients != p).any() else i
            for i, p in zip(everyone, patients, strict=True)
        ]
    )
