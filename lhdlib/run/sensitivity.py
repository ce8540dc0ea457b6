"""Which gap in the paper matters? The main result again, under alternatives to the choices of docs/choices.md.

    lhdlib sensitivity [--profile demo] [--data DIR] [--seed 0]

Each alternative changes one named option of the profile; whatever that does not touch is read, not computed again.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from lhdlib import cache, evaluate
from lhdlib.data import dataset
from lhdlib.figures import publish, words
from lhdlib.model import encoder, finetune, pretrain
from lhdlib.profile import Profile
from lhdlib.run import workspace
from lhdlib.run.notebooks import locked
from lhdlib.run.workspace import Workspace

CAPTION = (
    "The main result under other readings of the paper (docs/choices.md): mean test AUC over the fine-tuning seeds, "
    "and its difference to the choice made, each with a 95 % interval, patients resampled."
)


@dataclass(frozen=True)
class Alternative:
    """Another reading of the paper."""

    choice: int | None  #: number in docs/choices.md; None: a departure from what the paper says
    name: str
    change: Mapping[str, Mapping[str, Any]]  #: as `Profile.replace` takes it
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  #: what it is compared with: the main result


ALTERNATIVES = (
    Alternative(1, "fully connected block: ReLU before normalisation", {"encoder": {"fc_block": "dense-relu-norm"}}),
    Alternative(
        2,
        "dr = 0.25 as retention probability, compared with dr = 0.25 as drop rate",
        {"pretrain": {"drop_rate": 0.75}},
        {"pretrain": {"drop_rate": 0.25}},
    ),
    Alternative(3, "Eq. 6 averages over the 2n rows", {"pretrain": {"reduction": "mean"}}),
    Alternative(5, "σ of the operation centre halved", {"views": {"sigma": 0.05}}),
    Alternative(5, "σ of the operation centre doubled", {"views": {"sigma": 0.2}}),
    Alternative(6, "scaling: a slice's maximum becomes 1", {"data": {"scaling": "maximum"}}),
    Alternative(6, "scaling: mean 0, standard deviation 1", {"data": {"scaling": "standard"}}),
    Alternative(
        None, "four slices give the upper sample only (the paper takes both)", {"data": {"four_slices": "upper"}}
    ),
    Alternative(12, "duplicates are kept", {"data": {"duplicates": "kept"}}),
    Alternative(17, "other slices of a patient are no negatives", {"pretrain": {"same_patient_negatives": False}}),
    Alternative(19, "validation and test slices are whole", {"finetune": {"test_crop": "whole"}}),
    Alternative(20, "the learning rate is constant", {"pretrain": {"decay": "none"}}),
    Alternative(22, "the linear classifier has no L2 term, as published", {"finetune": {"w": 0.0}}),
)


@dataclass(frozen=True)
class Result:
    """The classifier's answers on its test discs."""

    labels: np.ndarray  #: (n,)
    logits: np.ndarray  #: (seeds, n)
    patients: np.ndarray  #: (n,)
    discs: tuple  #: tells test sets apart


def sensitivity(space: Workspace, *, alternatives: Sequence[Alternative] = ALTERNATIVES) -> pd.DataFrame:
    """The main result under each alternative.

    Parameters
    ----------
    space : Workspace
        With the results of notebooks 01 and 03.
    alternatives : sequence of Alternative
        Those that are the profile's own reading are left out.

    Returns
    -------
    pd.DataFrame
        ``choice, alternative, AUC, difference``; the AUC and its difference to the choice made, both with the 95 %
        interval of resampled patients. The first row is the run as it is.

    Raises
    ------
    UserError
        When an earlier notebook has not finished, or an alternative leaves too few samples.
    """
    rows = [("–", "this run, first pre-training", _shown_auc(main_result(space, {})), "–")]
    others = [one for one in alternatives if changes(one, space.profile)]
    for number, alternative in enumerate(others, start=1):
        print(f"{number} of {len(others)}: {alternative.name}", flush=True)
        found = main_result(space, alternative.change)
        apart = difference(found, main_result(space, alternative.beside))
        shown = words.interval_text(apart, form="+.3f")
        rows.append((str(alternative.choice or "–"), alternative.name, _shown_auc(found), shown))
    return pd.DataFrame(rows, columns=["choice", "alternative", "AUC", "difference"])


def changes(alternative: Alternative, profile: Profile) -> bool:
    """Whether the profile's own reading is another."""
    return profile.replace(**alternative.change) != profile.replace(**alternative.beside)


def main_result(space: Workspace, change: Mapping[str, Mapping[str, Any]]) -> Result:
    """Dataset, pre-training, fine-tuning and test under a changed profile; what was computed before is read.

    Parameters
    ----------
    space : Workspace
    change : mapping
        As `Profile.replace` takes it; empty for the main result.
    """
    profile, seed = space.profile.replace(**change), space.seed
    folder = space.part("sensitivity") / cache.content_key(change)[:12]
    main = data = dataset.load_dataset(space.part("01"))
    if "data" in change:
        data = dataset.build_dataset(space.data_dir, folder / "01", profile, seed)
    trained = folder / "03"
    if change.keys() <= {"data", "finetune"} and data.info["pretrain_fingerprint"] == main.info["pretrain_fingerprint"]:
        trained = space.part("03")  # pre-training sees the same slices
    elif list(change) == ["pretrain"] and change["pretrain"].keys() <= {"w", "drop_rate"}:
        trained = space.part("05")  # Table 3 has some of them
    model, _, key = pretrain.pretrained(data, profile, seed, trained)
    split, settings = profile.data.split, profile.finetune
    extractor = encoder.extractor(model)
    features = finetune.dataset_features(extractor, data, split, settings, seed, folder / "features.npz", key)
    found = finetune.classify(features, settings, seed)
    test = data.part("test", split)
    discs = tuple(map(tuple, test.table[["patient", "study", "level", "part"]].to_numpy()))
    return Result(found["test_labels"], found["test_logits"], test.patients, discs)


def difference(one: Result, other: Result) -> dict[str, float]:
    """AUC of `one` minus that of `other`, paired where both have the same test discs; see `evaluate.contrast`."""
    if one.discs == other.discs:
        return evaluate.compare(one.labels, one.logits, other.logits, one.patients)["AUC"]
    return evaluate.compare_sets(*((side.labels, side.logits, side.patients) for side in (one, other)))["AUC"]


def _shown_auc(result: Result) -> str:
    return words.interval_text(evaluate.over_seeds(result.labels, result.logits, result.patients)["AUC"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``lhdlib sensitivity``."""
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--data", default="", metavar="DIR", help="the real archive; without it, the phantom")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", default="", metavar="DIR")
    parser.add_argument("--figures", default="", metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Run ``lhdlib sensitivity``."""
    space = workspace.open_workspace(
        args.profile, data_dir=args.data, seed=args.seed, results=args.results, figures=args.figures
    )
    with locked(space.results, space.figures):
        table = sensitivity(space)
        path = publish.save_table(table, "sensitivity", space.figures, space.stamp(), CAPTION)
    print(f"{publish.markdown(table)}\n{path}")
    return 0
