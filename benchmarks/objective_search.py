"""Values of the objectives of pre-training: three of each, on a phantom that is not the one that is reported.

    .venv/bin/python -m benchmarks.objective_search PHANTOM STORE [--seed 11] [--steps 300] [--only nt-xent]

PHANTOM is a folder that `lhdlib.phantom.archive.write_phantom` has written, STORE gets the dataset and the trainings:
an interrupted search goes on. Every candidate has the demo's network, batch, learning rate and views, and equally few
steps, the learning rate falling to 0 within them. Scored by the AUC of the linear classifier on patients whose labels
no training has seen.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from lhdlib import evaluate, profile
from lhdlib.data import dataset
from lhdlib.model import encoder, finetune, pretrain

#: Objective -> key of [objectives], and its values.
CANDIDATES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "nt-xent": ("nt_xent_temperature", (0.1, 0.2, 0.5)),
    "supcon": ("supcon_temperature", (0.1, 0.2, 0.5)),
    "vicreg": ("vicreg_weights", ((25.0, 25.0, 1.0), (25.0, 25.0, 5.0), (25.0, 25.0, 25.0))),
    "barlow-twins": ("barlow_twins_weight", (0.001, 0.0051, 0.02)),
}


def score(chosen: profile.Profile, data: dataset.Dataset, folder: Path) -> tuple[float, float]:
    """AUC on the notes' labels of held-out patients, and contrastive accuracy, of one pre-training."""
    model, history, key = pretrain.pretrained(data, chosen, 0, folder)
    extractor, path = encoder.extractor(model), folder / "features.npz"
    features = finetune.dataset_features(extractor, data, chosen.data.split, chosen.finetune, 0, path, key)
    found = finetune.classify(features, dataclasses.replace(chosen.finetune, seeds=1), 0)
    parts = ("validation", "test")
    labels = np.concatenate([found[f"{part}_labels"] for part in parts])
    logits = np.concatenate([found[f"{part}_logits"][0] for part in parts])
    return evaluate.delong(labels, logits).value, history.validation_accuracy.max()


def main() -> None:
    """Print a line per candidate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phantom", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--seed", type=int, default=11, help="of the splits")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", default="", choices=["", *CANDIDATES])
    args = parser.parse_args()
    short = {"steps_per_epoch": args.steps, "max_epochs": 1, "patience": 1}
    base = profile.load("demo").replace(data={"split": "patient"}, pretrain=short)
    data = dataset.build_dataset(args.phantom / "archive", args.store / "data", base, args.seed)
    for name, (key, values) in CANDIDATES.items():
        if args.only in ("", name):
            for number, value in enumerate(values):
                chosen = base.replace(pretrain={"objective": name}, objectives={key: value})
                auc, accuracy = score(chosen, data, args.store / f"{name}_{number}")
                print(f"{name} {value}: AUC {auc:.3f}, contrastive accuracy {accuracy:.3f}", flush=True)


if __name__ == "__main__":
    main()
