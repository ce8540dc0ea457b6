"""Examples that show what they are examples of: unlike slices, and random views that differ much."""

import numpy as np

from lhdlib import augment
from lhdlib.profile import Profile

DRAWS = 100  # among which one is chosen


def unlike(images: np.ndarray) -> tuple[int, int]:
    """The first image, and the one whose pixels correlate least with it; images (n, W, W)."""
    flat = images.reshape(len(images), -1).astype(float)
    likeness = np.corrcoef(flat)[0]
    return 0, int(np.argmin(likeness))


def strong_draw(images: np.ndarray, seed: int, profile: Profile) -> tuple[int, int]:
    """A seed of `augment.draw` whose weakest view is turned and cropped more than in other draws.

    Parameters
    ----------
    images : np.ndarray, shape (n, W, W)
    seed
        The first part of all seeds tried.
    """
    size, strength = images.shape[1], []
    for draw in range(DRAWS):
        _, crops = augment.draw(images[..., None], (seed, draw), profile)
        box = np.array(crops.box.tolist(), float)
        kept = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) / size**2
        turned = np.abs(crops.angle_deg.to_numpy(float)) / (profile.views.theta_deg or 1)
        strength.append(np.where(crops.skipped, -1, turned + 1 - kept).min())
    return seed, int(np.argmax(strength))
