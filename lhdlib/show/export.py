"""The command ``lhdlib export``: a finished run's model as one file that others can read studies with."""

import argparse
import os
from pathlib import Path

from lhdlib import files
from lhdlib.errors import UserError
from lhdlib.figures.words import METRICS, interval_text
from lhdlib.progress import native_errors_to
from lhdlib.show import model_file
from lhdlib.show.study import FinishedRun, finished_run


def card(run: FinishedRun) -> str:
    """The model card: what it is, what it saw, how it did, and what it is not for."""
    from lhdlib.show.atlas import NOT_CLINICAL  # draws

    dataset, headline = (files.read_json(run.folder / name) for name in ("01/dataset.json", "04/headline.json"))
    counts = dataset["counts"]
    shown = ["patients", "pre-training images", "training samples", "validation samples", "test samples"]
    metrics = "\n".join(f"- {METRICS[name]}: {interval_text(headline['metrics'][name])}" for name in METRICS)
    return f"""# Model card

Encoder and linear classifiers of the companion to Hou et al. (2023), doi:10.1007/s40747-023-00981-0, profile
{run.profile.name}. It calls a lumbar disc herniated or normal from three axial T2 slices.

**{NOT_CLINICAL}**

## Trained on
{run.stamp["data"]}: {", ".join(f"{counts[name]} {name}" for name in shown)}. Labels are those of its notes.

## On its test samples (mean over its classifiers; 95 % intervals resample patients)
{metrics}

## What it was never shown
- Images of another source than the one above: other scanners, protocols, hospitals.
- Cervical and thoracic discs, and lumbar discs that the build set aside: transitional vertebrae, doubtful levels, notes
  that leave a disc undecided.
- Sagittal images, and T1 slices with a label.

Which patients it was trained on is not in this file: for a study that may be one of them, its probability says nothing.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``lhdlib export``."""
    parser.add_argument("run", metavar="RUN", type=Path, help="a finished run, such as results/demo")
    parser.add_argument("file", metavar="FILE", type=Path, help="the model's file, such as model.zip")


def run(args: argparse.Namespace) -> int:
    """Run ``lhdlib export``: write the model's file and say what is in it."""
    if args.run.is_file():
        raise UserError(f"{args.run} is a file: name the folder of a finished run.")
    finished = finished_run(args.run)
    if args.file.is_dir():
        raise UserError(f"{args.file} is a folder: name the file to write, such as {args.file / 'model.zip'}.")
    with open(os.devnull, "wb") as nowhere, native_errors_to(nowhere.fileno()):
        from lhdlib.model.kinds import load_head  # TensorFlow takes seconds: not before the run is known to be right
        from lhdlib.show import reader

    network, weights, bias = reader.stored_model(finished)
    arrays = {f"encoder/{weight.path}": weight.numpy() for weight in network.weights}
    arrays |= dict(zip(model_file.HEADS, (weights, bias), strict=True))
    kept = load_head(finished.folder)
    arrays |= reader.kind_arrays(kept[0]) if kept else {}
    stamp = {name: finished.stamp[name] for name in model_file.STAMP if name in finished.stamp}
    try:
        model_file.write_model(args.file, model_file.ModelFile(finished.profile, stamp, arrays), card(finished))
    except OSError as error:
        raise UserError(f"{args.file} cannot be written ({error.strerror}): name another file.") from error
    print(f"{args.file}: {args.file.stat().st_size / 1e6:.1f} MB. Read a study with lhdlib study DIR --run {args.file}")
    return 0
