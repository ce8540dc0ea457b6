"""How much of what is possible was reached? The phantom's truth, a second reader and the level, scored as classifiers.

Labels come from notes, and notes err: not even who knows every disc's true severity agrees with all of them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lhdlib import evaluate
from lhdlib.data.dataset import Part
from lhdlib.evidence import levels
from lhdlib.phantom import truth


def truth_of(archive: Path, discs: pd.DataFrame) -> pd.DataFrame | None:
    """Look up what the phantom beside an archive knows of each disc, row by row; None where there is none.

    Parameters
    ----------
    archive
    discs
        Columns patient, level.

    Returns
    -------
    DataFrame or None
        Columns of `phantom.truth.load_truth`.
    """
    folder = truth.beside(archive)
    if folder is None:
        return None
    known = truth.load_truth(folder)[0].set_index(["patient", "level"])
    return known.loc[list(zip(discs.patient, discs.level, strict=True))].reset_index()


def measure(train: Part, test: Part, logits: np.ndarray, known: pd.DataFrame) -> dict[str, Any]:
    """Scores against the notes and against the truth, and how far the true severity is above the classifier.

    Parameters
    ----------
    train, test
        Of one split.
    logits : shape (seeds, n)
        The classifier's, of the test discs.
    known
        `truth_of` the test discs.

    Returns
    -------
    dict
        ``notes`` and ``truth``: name -> "metrics" (`evaluate.over_seeds`), "lowest" and "within"
        (`evaluate.level_aucs`). ``missing``: AUC of the true severity minus the classifier's, against the notes.
    """
    level, patients = test.table.level.to_numpy(str), test.patients
    severity = known.severity.to_numpy()[None]
    second, note = (known[name].to_numpy()[None] - 0.5 for name in ("second_reader", "noted"))
    alone = levels.level_logits(train.table.level.to_numpy(str), train.labels, level)
    against_notes = {"this run": logits, "true severity": severity, "second reader": second, "level only": alone}
    against_truth = {"this run": logits, "note": note, "second reader": second, "level only": alone}
    judges = {"notes": (test.labels, against_notes), "truth": (known.label.to_numpy(), against_truth)}
    found: dict[str, Any] = {
        judge: {name: _scored(labels, scores, patients, level) for name, scores in scored.items()}
        for judge, (labels, scored) in judges.items()
    }
    return found | {"missing": evaluate.compare(test.labels, severity, logits, patients)["AUC"]}


def _scored(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, level: np.ndarray) -> dict[str, Any]:
    aucs = evaluate.level_aucs(labels, scores, patients, level, lowest=levels.LOWEST)
    summary = evaluate.over_seeds(labels, scores, patients)
    return {"metrics": summary} | {name: estimate._asdict() for name, estimate in aucs.items()}
