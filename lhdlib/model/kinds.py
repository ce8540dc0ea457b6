"""Which lesion? A sigmoid for each kind of lesion, on the frozen features of a disc's three slices.

Trained as the classifier of stage 2 is (`finetune.train_linear`), on the kinds that the notes name. A note need not
name all that is there: what it does not say counts as absent, in training as in the paper's rule for the label.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lhdlib import cache, files
from lhdlib.data import reports
from lhdlib.data.grammar.findings import COMPRESSION_KINDS
from lhdlib.errors import UserError
from lhdlib.model import finetune
from lhdlib.profile import Finetune

#: Kinds, and the findings of `reports.parse_report` that are of each; a mere "herniation" is of none.
KINDS = {
    "bulge": ("bulge",),
    "protrusion": ("protrusion",),
    "extrusion or sequestration": ("extrusion", "sequestration"),
    "annular tear": ("annular tear",),
    "nerve root or sac compression": COMPRESSION_KINDS,  # a narrowed foramen presses on the root
}
FILE = "09/kinds.npz"  #: of a run that has a head
CLASSIFIER = "04/classifier.npz"  #: of the same network: another one there, and the head is of another run


@dataclass(frozen=True)
class Head:
    """Linear classifiers of all kinds, for each network and seed; the first is that of the first network."""

    weights: np.ndarray  #: (m, kinds, 3, d)
    bias: np.ndarray  #: (m, kinds)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Before the sigmoid: features (n, 3, d) -> (m, n, kinds)."""
        return np.einsum("nsd,mksd->mnk", features, self.weights) + self.bias[:, None]


def noted_kinds(samples: pd.DataFrame) -> np.ndarray:
    """Which of `KINDS` the note of each disc names at its level, neither denied nor only suspected.

    Parameters
    ----------
    samples : pd.DataFrame
        Columns ``note``, ``level``.

    Returns
    -------
    np.ndarray of bool, shape (n, kinds)
    """
    said = {}
    for note in samples.note.unique():
        found = [f for f in reports.parse_report(note) if not (f.negated or f.doubted)]
        said[note] = {(f.level, f.kind) for f in found}
    pairs = list(zip(samples.note, samples.level, strict=True))
    rows = [[any((level, kind) in said[note] for kind in own) for own in KINDS.values()] for note, level in pairs]
    return np.array(rows, bool).reshape(len(pairs), len(KINDS))


def train_head(repeated: Sequence[dict[str, np.ndarray]], kinds: np.ndarray, settings: Finetune, seed: int) -> Head:
    """Train the head on each network's features, every kind as the classifier of stage 2 of the same seed.

    Parameters
    ----------
    repeated
        From `finetune.repeated_features`.
    kinds : shape (n, kinds)
        Of the training discs.
    """
    seeds = [seed + number for number in range(settings.seeds) for _ in range(kinds.shape[1])]
    labels = np.tile(kinds.T, (settings.seeds, 1))
    runs = [finetune.train_linear(features["train"], labels, settings, seeds)[:2] for features in repeated]
    weights, bias = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    return Head(weights.reshape(-1, kinds.shape[1], *weights.shape[1:]), bias.reshape(-1, kinds.shape[1]))


def test_logits(head: Head, repeated: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
    """Logits of the test discs by each network's classifiers, shape (m, n, kinds)."""
    weights, bias = (np.split(values, len(repeated)) for values in (head.weights, head.bias))
    each = zip(weights, bias, repeated, strict=True)
    return np.concatenate([Head(w, b).logits(features["test"]) for w, b, features in each])


# Kept with a run


def save_head(results: Path, head: Head, rows: np.ndarray, logits: np.ndarray) -> None:
    """Keep a head with its run, and what it says of the test discs.

    Parameters
    ----------
    results
        Of the run.
    rows : shape (n, 3)
        Slices of the test discs.
    logits : shape (m, n, kinds)
    """
    (results / FILE).parent.mkdir(exist_ok=True)
    arrays = {"weights": head.weights, "bias": head.bias, "rows": rows, "logits": logits}
    files.save_arrays(results / FILE, kinds=np.array(list(KINDS)), made_for=np.array(_made_for(results)), **arrays)


def load_head(results: Path) -> tuple[Head, np.ndarray, np.ndarray] | None:
    """Head, rows and logits of `save_head`; None where the run has none, or one of another network or other kinds.

    Raises
    ------
    UserError
        When the file is damaged.
    """
    path = results / FILE
    if not path.is_file() or not (results / CLASSIFIER).is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        if str(arrays["made_for"]) != _made_for(results) or arrays["kinds"].tolist() != list(KINDS):
            return None
        return Head(arrays["weights"], arrays["bias"]), arrays["rows"], arrays["logits"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged: delete it, or run notebook 09 again.") from error


def _made_for(results: Path) -> str:
    """Key of the classifier that stands on the same network."""
    return cache.content_key(results / CLASSIFIER)
