"""Every table of the paper as a data frame, and the sentences that compare this run with it.

A function per table; it takes plain values and computes no result. Numbers become text here, for figures too.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from lhdlib import paper
from lhdlib import profile as profiles
from lhdlib.profile import Profile

#: The paper's tables, by the name of the function that makes each and of the files it is saved in.
TABLES = ("table1_pretraining", "table2_finetuning", "table3_regularization")

METRICS = {"ACC": "Accuracy", "TPR": "Sensitivity", "TNR": "Specificity", "AUC": "AUC"}

Summary = Mapping[str, float]  # mean, low, high (patients resampled), sd of several seeds: `evaluate.over_seeds`

#: Readable names of a profile's values.
LABELS = {
    "data.phantom_patients": "phantom patients",
    "data.image_size": "image side W = H (pixels)",
    "data.field_of_view_mm": "field of view (mm)",
    "data.pretrain_validation": "pre-training validation slices",
    "data.test_per_class": "test samples per class",
    "data.validation_per_class": "validation samples per class",
    "data.split": "split of the samples",
    "data.scaling": "scaling of a slice's values",
    "data.four_slices": "samples of a disc with four slices",
    "data.duplicates": "images stored twice",
    "views.sigma": "σ of the operation centre (share of W)",
    "views.blur_sigma": "range of the blur's σ (pixels)",
    "encoder.blocks": "ResNet blocks per stage",
    "encoder.width": "ResNet base width",
    "encoder.dim": "feature dimension d",
    "encoder.fc_block": "order within a fully connected block",
    "pretrain.reduction": "Eq. 6 over the 2n rows",
    "pretrain.steps_per_epoch": "steps per epoch",
    "pretrain.max_epochs": "most epochs",
    "pretrain.patience": "epochs without gain before the end",
    "pretrain.same_patient_negatives": "other slices of a patient are negatives",
    "pretrain.jit": "compiled with XLA",
    "pretrain.precision": "precision of the feature maps",
    "finetune.epochs": "epochs",
    "finetune.draws": "random crops of each sample",
    "finetune.seeds": "seeds",
    "supervised.lr": "supervised baseline: lr",
    "supervised.batch": "supervised baseline: batch",
    "supervised.epochs": "supervised baseline: epochs",
    "autoencoder.lr": "autoencoder: lr",
    "autoencoder.batch": "autoencoder: batch",
    "autoencoder.steps": "autoencoder: steps",
}
#: What a zero means in a profile.
ZERO = {
    "data.phantom_patients": "none, real patients",
    "data.field_of_view_mm": "whole slice",
    "pretrain.steps_per_epoch": "one pass over the data",
}
#: Values that the paper does not give; profile "paper" has to choose one.
NOT_GIVEN = (
    "data.scaling",
    "views.sigma",
    "encoder.fc_block",
    "pretrain.max_epochs",
    "pretrain.patience",
    "finetune.draws",
    "finetune.seeds",
    "supervised.batch",
    "autoencoder.lr",
    "autoencoder.batch",
    "autoencoder.steps",
)


def signed(value: float, digits: str = ".2f") -> str:
    """A number with its sign, minus as such."""
    return f"{value:+{digits}}".replace("-", "−")


def setting_text(setting: Any) -> str:
    """A regularisation setting (w, dr) with its symbols; anything else as it is."""
    return f"w = {setting[0]:g}, dr = {setting[1]:g}" if isinstance(setting, tuple) else str(setting)


def table1_pretraining(profile: Profile) -> pd.DataFrame:
    """Table 1: hyper-parameters of pre-training, then every other value that differs from profile "paper".

    Returns
    -------
    pd.DataFrame
        Columns ``hyper-parameter``, ``paper``, ``this run``, ``differs`` ("yes" or empty).
    """
    named = {
        "lr": "pretrain.lr",
        "b": "pretrain.batch",
        "w": "pretrain.w",
        "τ": "pretrain.temperature",
        "dr": "pretrain.drop_rate",
        "θ (°)": "views.theta_deg",
        "p_crop": "views.p_crop",
    }
    return _comparison(profile, paper.TABLE1, named, ("data", "views", "encoder", "pretrain", "autoencoder"))


def table2_finetuning(profile: Profile) -> pd.DataFrame:
    """Table 2: hyper-parameters of fine-tuning, then every other value that differs; columns as in Table 1."""
    named = {"lr": "finetune.lr", "b": "finetune.batch", "w": "finetune.w"}
    return _comparison(profile, paper.TABLE2, named, ("finetune", "supervised"))


def _comparison(profile: Profile, published: Mapping, named: Mapping, sections: Sequence[str]) -> pd.DataFrame:
    values, reference = _flat(profile, sections), _flat(profiles.load("paper"), sections)
    rows = [
        (name, _value(key, published[name]), _value(key, values[key]), published[name] != values[key])
        for name, key in named.items()
    ]
    for key, value in values.items():
        if key not in named.values() and value != reference[key]:
            stated = "not given" if key in NOT_GIVEN else _value(key, reference[key])
            rows.append((LABELS.get(key, key), stated, _value(key, value), True))
    return pd.DataFrame(
        [(*texts, "yes" if differs else "") for *texts, differs in rows],
        columns=["hyper-parameter", "paper", "this run", "differs"],
    )


def _flat(profile: Profile, sections: Sequence[str]) -> dict[str, Any]:
    return {
        f"{section}.{key}": value
        for section in sections
        for key, value in dataclasses.asdict(getattr(profile, section)).items()
    }


def _value(key: str, value: Any) -> str:
    if value == 0 and key in ZERO:
        return ZERO[key]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(_value(key, v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def table3_regularization(results: Mapping[tuple[float, float], Mapping[str, Summary]]) -> pd.DataFrame:
    """Table 3: performance at four regularisation settings.

    Parameters
    ----------
    results : mapping of (w, dr) -> mapping of "ACC", "TPR", "TNR", "AUC" -> mapping with mean, sd, low, high
        Mean and standard deviation over seeds, and the 95 % interval (`evaluate.over_seeds`).

    Returns
    -------
    pd.DataFrame
        A row per setting of the paper; for each metric a column with the paper's value and one with this run's.
    """
    rows = []
    for setting, published in paper.TABLE3.items():
        row = {"regularization": setting_text(setting)}
        for metric, name in METRICS.items():
            row[f"{name}, paper"] = f"{published[metric]:.4f}"
            row[f"{name}, this run"] = summary_text(results[setting][metric])
        rows.append(row)
    return pd.DataFrame(rows)


def metrics_table(results: Mapping[str, Mapping[str, Summary]]) -> pd.DataFrame:
    """The paper's headline metrics, then those of this run's classifiers, a row each.

    Parameters
    ----------
    results : mapping of name -> mapping of "ACC", "TPR", "TNR", "AUC" -> Summary (`evaluate.over_seeds`)
    """
    published = {name: f"{paper.TABLE3[paper.CHOSEN][metric]:.4f}" for metric, name in METRICS.items()}
    rows = [{"classifier": "paper"} | published]
    for classifier, found in results.items():
        rows.append({"classifier": classifier} | {name: summary_text(found[m]) for m, name in METRICS.items()})
    return pd.DataFrame(rows)


def summary_text(summary: Summary) -> str:
    """``mean ± sd [low, high]`` with three decimals; without sd where there was one seed."""
    spread = f" ± {summary['sd']:.3f}" if "sd" in summary else ""
    return "{mean:.3f}{spread} [{low:.3f}, {high:.3f}]".format(**summary, spread=spread)


def counts_table(counts: Mapping[str, int]) -> pd.DataFrame:
    """Counts of this run beside the paper's; a count that this run does not have shows as "–".

    Parameters
    ----------
    counts : mapping
        By the names in `paper.COUNTS`.

    Raises
    ------
    ValueError
        For another name.
    """
    unknown = set(counts) - set(paper.COUNTS)
    if unknown:
        raise ValueError(f"{sorted(unknown)[0]!r} is no count of the paper: known are {', '.join(paper.COUNTS)}.")
    rows = [(name, f"{n:,}", f"{counts[name]:,}" if name in counts else "–") for name, n in paper.COUNTS.items()]
    return pd.DataFrame(rows, columns=["count", "paper", "this run"])


# Words that are computed


def ordering_note(paper_values: Mapping[Any, float], our_values: Mapping[Any, Summary], name: str = "values") -> str:
    """Say whether an ordering of the paper appears in this run, for a caption.

    Every pair that the paper ranks is looked at; a pair counts as clear when its two intervals do not overlap.

    Parameters
    ----------
    paper_values : mapping of setting -> number
        Only their order counts; settings that tie are not compared.
    our_values : mapping of setting -> mapping with mean, low, high
        The same settings (`evaluate.over_seeds`).
    name : str
        What is ordered, such as "AUC".

    Raises
    ------
    ValueError
        When the settings differ.
    """
    if set(paper_values) != set(our_values):
        raise ValueError("paper_values and our_values must have the same settings.")
    pairs = [sorted(p, key=paper_values.get, reverse=True) for p in combinations(paper_values, 2)]
    pairs = [(a, b) for a, b in pairs if paper_values[a] != paper_values[b]]
    if not pairs:
        return f"The paper does not rank these {name}."
    agree = [(a, b) for a, b in pairs if our_values[a]["mean"] > our_values[b]["mean"]]
    clear = [(a, b) for a, b in agree if our_values[a]["low"] > our_values[b]["high"]]
    against = [(a, b) for a, b in pairs if our_values[b]["low"] > our_values[a]["high"]]
    overlap = f"in {len(clear)} of {len(pairs)} pairs it is clear (95 % intervals apart)"
    if len(agree) == len(pairs):
        verdict = f"The paper's order of {name} appears in the means of this run; {overlap}."
    else:
        verdict = (
            f"The paper's order of {name} does not appear in the means of this run: {len(agree)} of "
            f"{len(pairs)} pairs agree in direction, and {overlap}."
        )
    if against:
        listed = "; ".join(f"{setting_text(b)} above {setting_text(a)}" for a, b in against)
        verdict += f" Clearly reversed: {listed}."
    return verdict


def labels_note(results: pd.DataFrame) -> str:
    """Say whether the paper's two claims about labels appear: more labels are better; a third matches ``supv``.

    Parameters
    ----------
    results : pd.DataFrame
        As in `fig09_labels`.
    """
    notes = []
    for metric in ("ACC", "AUC"):
        table = results[results.metric == metric]
        semi = table[table.model == "semi"].sort_values("labels")
        values = {row["labels"]: row for _, row in semi.iterrows()}
        notes.append(ordering_note({count: count for count in values}, values, metric))
        few, supv = semi.iloc[0], table[table.model == "supv"].iloc[0]
        compared = "reaches" if few["mean"] >= supv["mean"] else "stays below"
        apart = few.high < supv.low or few.low > supv.high
        notes.append(
            f"With {few.labels} labels the classifier {compared} the supervised baseline in {metric} "
            f"({few['mean']:.3f} against {supv['mean']:.3f}; intervals {'apart' if apart else 'overlap'})."
        )
    return " ".join(notes)
