"""The level as a rival: lower discs are abnormal more often, whatever a slice shows."""

from collections.abc import Mapping
from typing import Any

import numpy as np

LOWEST = ("L3-L4", "L4-L5", "L5-S1")  #: which most archives image, and where most lesions are


def level_logits(known: np.ndarray, labels: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Log odds of abnormal at each disc's level, counted on training discs with half a disc added to both classes.

    Parameters
    ----------
    known : shape (m,)
        Levels of the training discs.
    labels : shape (m,)
    levels : shape (n,)

    Returns
    -------
    np.ndarray, shape (1, n)
        0 where no training disc has the level.
    """
    abnormal, normal = (
        np.array([np.sum((known == level) & (labels == kind)) + 0.5 for level in levels]) for kind in (1, 0)
    )
    return np.log(abnormal / normal)[None]


class _Beside:
    """Features with more numbers at the end of each slice's, as much of an array as training asks for."""

    def __init__(self, features: np.ndarray, more: np.ndarray):
        self.features, self.more = features, more
        self.shape = (*features.shape[:3], features.shape[3] + more.shape[1])
        self.itemsize, self.dtype = features.itemsize, features.dtype

    def __getitem__(self, crop: int) -> np.ndarray:
        return _joined(self.features[crop], self.more)


def _joined(features: np.ndarray, more: np.ndarray) -> np.ndarray:
    each = np.broadcast_to(more[:, None], (*features.shape[:2], more.shape[1]))
    return np.concatenate([features, each.astype(features.dtype)], axis=2)


def with_level(features: Mapping[str, np.ndarray], levels: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Features with each disc's level beside them: a number per level, 1 at the disc's own.

    Parameters
    ----------
    features
        From `finetune.dataset_features`; the training features may be a map of a file.
    levels : mapping of part -> shape (n,)
        Levels of the discs of "train", "validation" and "test"; one that no training disc has is none.

    Returns
    -------
    dict
        As `features`; ``train`` is indexed by the crop alone.
    """
    names = np.unique(levels["train"])
    one_hot = {part: (np.asarray(own)[:, None] == names).astype(float) for part, own in levels.items()}
    others = {part: _joined(features[part], one_hot[part]) for part in ("validation", "test")}
    return {**features, "train": _Beside(features["train"], one_hot["train"]), **others}
