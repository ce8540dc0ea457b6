"""Every table of the paper as a data frame, with this run's values.

A function per table; it takes plain values and computes no result.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lhdlib import paper
from lhdlib import profile as profiles
from lhdlib.figures.words import METRICS, Summary, setting_text, summary_text
from lhdlib.profile import Profile

#: The paper's tables, by the name of the function that makes each and of the files it is saved in.
TABLES = ("table1_pretraining", "table2_finetuning", "table3_regularization")

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
    "encoder.strides": "strides of the ResNet's stages",
    "encoder.width": "ResNet base width",
    "encoder.dim": "feature dimension d",
    "encoder.fc_block": "order within a fully connected block",
    "pretrain.objective": "objective",
    "pretrain.decay": "decay of the learning rate",
    "pretrain.reduction": "Eq. 6 over the 2n rows",
    "pretrain.steps_per_epoch": "steps per epoch",
    "pretrain.max_epochs": "most epochs",
    "pretrain.patience": "epochs without gain before the end",
    "pretrain.same_patient_negatives": "other slices of a patient are negatives",
    "pretrain.jit": "compiled with XLA",
    "pretrain.precision": "precision of the feature maps",
    "finetune.epochs": "epochs",
    "finetune.test_crop": "validation and test slices",
    "finetune.draws": "random crops of each sample",
    "heatmaps.cells": "cells of a heatmap on the slice",
    "finetune.encoders": "pre-trainings",
    "finetune.seeds": "seeds of each classifier",
    "supervised.lr": "supervised baseline: lr",
    "supervised.batch": "supervised baseline: batch",
    "supervised.epochs": "supervised baseline: epochs",
    "tuned.batch": "equal labels, whole networks: batch",
    "tuned.lr": "equal labels, pre-trained and tuned whole: lr",
    "tuned.steps": "equal labels, pre-trained and tuned whole: steps",
    "tuned.scratch_lr": "equal labels, from scratch: lr",
    "tuned.scratch_steps": "equal labels, from scratch: steps",
    "objectives.nt_xent_temperature": "nt-xent: τ",
    "objectives.supcon_temperature": "supcon: τ",
    "objectives.vicreg_weights": "vicreg: λ, μ, ν",
    "objectives.barlow_twins_weight": "barlow-twins: λ",
    "beyond.labels": "when does it pay: numbers of labels",
    "beyond.wrong": "when does it pay: shares of wrong labels",
    "beyond.sparse": "when does it pay: part of them for other objectives, tuned",
    "beyond.draws": "when does it pay: draws of labels",
    "beyond.pretrainings": "when does it pay: pre-trainings of each objective",
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
    "pretrain.steps_per_epoch",
    "pretrain.max_epochs",
    "pretrain.patience",
    "pretrain.jit",
    "pretrain.precision",
    "finetune.test_crop",
    "finetune.draws",
    "finetune.encoders",
    "finetune.seeds",
    "supervised.batch",
    "tuned.batch",
    "tuned.lr",
    "tuned.steps",
    "tuned.scratch_lr",
    "tuned.scratch_steps",
    "objectives.nt_xent_temperature",
    "objectives.supcon_temperature",
    "objectives.vicreg_weights",
    "objectives.barlow_twins_weight",
    "beyond.labels",
    "beyond.wrong",
    "beyond.sparse",
    "beyond.draws",
    "beyond.pretrainings",
    "autoencoder.lr",
    "autoencoder.batch",
    "autoencoder.steps",
)


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
    return _comparison(
        profile, paper.TABLE1, named, ("data", "views", "encoder", "pretrain", "objectives", "autoencoder")
    )


def table2_finetuning(profile: Profile) -> pd.DataFrame:
    """Table 2: hyper-parameters of fine-tuning, then every other value that differs; columns as in Table 1."""
    named = {"lr": "finetune.lr", "b": "finetune.batch", "w": "finetune.w"}
    return _comparison(profile, paper.TABLE2, named, ("finetune", "heatmaps", "supervised", "tuned", "beyond"))


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
    results : mapping of (w, dr) -> mapping of "ACC", "TPR", "TNR", "AUC" -> Summary (`evaluate.over_seeds`)

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
    """The paper's headline metrics, then those of this run's classifiers (`evaluate.over_seeds`), a row each."""
    published = {name: f"{paper.TABLE3[paper.CHOSEN][metric]:.4f}" for metric, name in METRICS.items()}
    rows = [{"classifier": "paper"} | published]
    for classifier, metrics in results.items():
        rows.append({"classifier": classifier} | {name: summary_text(metrics[m]) for m, name in METRICS.items()})
    return pd.DataFrame(rows)


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
