"""The level as a rival: lower discs are abnormal more often, whatever a slice shows."""

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
