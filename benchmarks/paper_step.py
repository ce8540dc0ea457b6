"""Does profile `paper` run? Two pre-training steps of ResNet-50 at 300 x 300, n = 32 (64 views), on phantom slices.

Needs about 16 GB of memory and some minutes on two cores.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks.record import record
from lhdlib import augment, profile
from lhdlib.data import dicom, resampling
from lhdlib.model import encoder, pretrain
from lhdlib.phantom.archive import write_phantom


def main() -> None:
    """Run the steps and record parameters, seconds and peak memory."""
    settings = profile.load("paper")
    size, batch = settings.data.image_size, settings.pretrain.batch
    with tempfile.TemporaryDirectory() as folder:
        archive = write_phantom(Path(folder) / "phantom", 2)
        slices, _ = dicom.index_tree(archive)
        chosen = slices.head(batch)
        spacing = zip(chosen.row_spacing, chosen.column_spacing, strict=True)
        images = np.stack(
            [
                resampling.preprocess(dicom.read_pixels(archive / path), pair, size, settings.data.field_of_view_mm)
                for path, pair in zip(chosen.path, spacing, strict=True)
            ]
        )
    model = encoder.build_encoder(size, settings.encoder, settings.pretrain.drop_rate, seed=0)
    step = pretrain.make_step(model, keras.optimizers.Adam(settings.pretrain.lr), settings)
    lines = [f"- parameters: {model.count_params():,}", f"- views per step: {2 * batch} of {size} x {size}"]
    for number in range(2):
        start = time.perf_counter()
        views = augment.contrastive_views(images[..., None], (0, number), settings)
        made = time.perf_counter()
        found = step(views, tf.zeros(2 * batch, tf.int32))
        loss = float(found["loss"])
        end = time.perf_counter()
        note = " (graph building included)" if number == 0 else ""
        lines.append(
            f"- step {number + 1}{note}: views {made - start:.1f} s, training {end - made:.1f} s, loss per view above "
            f"log(2n - 1): {loss:.4f}"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    record("Profile paper: two optimisation steps", [*lines, f"- peak memory: {peak:.1f} GiB"])


if __name__ == "__main__":
    main()
