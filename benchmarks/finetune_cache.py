"""Fine-tuning on the features of crops computed once, beside computing them anew in every epoch.

Both train linear units as notebooks 04 and 06 do: at the paper's five label counts, and the two controls that use the
same features (shuffled labels, standardised features), several seeds each, on the same random slices, with a profile's
encoder. Features computed once serve all of them; recomputing has the crops of each training to itself. It is timed for
a few epochs of each label count and multiplied.
"""

import time

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage

from benchmarks.record import record
from benchmarks.side_by_side import compare, options
from lhdlib import augment, paper, profile
from lhdlib.model import controls, encoder, finetune
from lhdlib.profile import Finetune
from lhdlib.progress import progress_bar


def train_recomputing(
    extractor: keras.Model, images: np.ndarray, rows: np.ndarray, labels: np.ndarray, settings: Finetune, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Train as `finetune.train_linear` does with as many draws as epochs, but crop and extract within the loop.

    Returns
    -------
    weights : np.ndarray, shape (3, d)
    seconds : np.ndarray, shape (epochs,)
        The first epoch's hold the building of the graph.
    """
    rng = np.random.default_rng([seed, 4])
    n, size = len(rows), images.shape[1]
    batch = min(settings.batch, n)
    order = [rng.permutation(n)[: n // batch * batch].reshape(-1, batch) for _ in range(settings.epochs)]
    dim = extractor.output_shape[0][-1]
    weights = keras.Variable(rng.normal(0, 0.01, 3 * dim).astype(np.float32))
    bias = keras.Variable(np.float32(0))
    optimizer = keras.optimizers.Adam(settings.lr)
    optimizer.build([weights, bias])

    @tf.function
    def step(views, truth):
        flat = tf.reshape(views, (-1, size, size, 1))
        features = tf.reshape(extractor(flat, training=False)[0], (-1, 3 * dim))
        with tf.GradientTape() as tape:
            h = tf.linalg.matvec(features, weights.value) + bias.value
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(truth, h))
            loss += settings.w * tf.reduce_sum(weights.value**2)
        optimizer.apply(tape.gradient(loss, [weights.value, bias.value]), [weights, bias])

    seconds = []
    for epoch, batches in enumerate(order):
        start = time.perf_counter()
        boxes = augment.finetune_crops(np.random.default_rng([seed, 3, epoch]), n, size)
        for chosen in batches:
            views = augment.finetune_views(images[rows[chosen]].astype(np.float32), boxes[chosen])
            step(views, tf.constant(labels[chosen], tf.float32))
        seconds.append(time.perf_counter() - start)
    return weights.numpy().reshape(3, dim), np.array(seconds)


def smooth_slices(n: int, size: int, seed: int = 0) -> np.ndarray:
    """Blurred noise of the scale of a slice store, shape (n, W, W), float16."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(n, size, size)), (0, 2, 2))
    return (noise / noise.std() / 4 + 0.5).astype(np.float16)


def frozen_extractor(settings: profile.Profile, seed: int = 0) -> keras.Model:
    """The profile's extractor with random weights and batch statistics away from 0 and 1."""
    model = encoder.build_encoder(settings.data.image_size, settings.encoder, 0.0, seed)
    rng = np.random.default_rng(seed)
    for variable in model.non_trainable_variables:
        if "moving_mean" in variable.path:
            variable.assign(rng.normal(0, 0.1, variable.shape))
        elif "moving_variance" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return encoder.extractor(model)


def main() -> None:
    """Check that both give the same weights, time them in turn, record."""
    parser = options(__doc__.splitlines()[0], rounds=5)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--samples", type=int, default=640, help="at the largest label count")
    parser.add_argument("--epochs", type=int, default=2, help="timed with recomputing, after a first one")
    parser.add_argument("--draws", type=int, default=8, help="timed of the exact mode's, one per epoch")
    args = parser.parse_args()
    settings = profile.load(args.profile)
    extractor = frozen_extractor(settings)
    images = smooth_slices(args.samples, settings.data.image_size)
    rng = np.random.default_rng(1)
    rows, labels = rng.integers(0, len(images), (args.samples, 3)), rng.integers(0, 2, args.samples)
    counts = [round(args.samples * count / paper.LABEL_COUNTS[-1]) for count in paper.LABEL_COUNTS]
    epochs, draws, seeds = settings.finetune.epochs, settings.finetune.draws, list(range(settings.finetune.seeds))
    shuffled = np.stack([rng.permutation(labels) for _ in seeds])
    trainings = (len(counts) + 2) * len(seeds)

    def tuned(epochs):
        return settings.replace(finetune={"epochs": epochs, "lr": 1e-2}).finetune

    few = tuned(4)
    exact = finetune.extract_crops(extractor, images, rows[: counts[0]], few.epochs, 0)
    exact = finetune.train_linear(exact, labels[: counts[0]], few, [0])[0][0]
    apart = np.abs(exact - train_recomputing(extractor, images, rows[: counts[0]], labels, few, 0)[0]).max()
    np.testing.assert_array_less(apart, 1e-5)

    def train_all(features):
        for count in counts:
            finetune.train_linear(features, labels[:count], tuned(epochs), seeds, rows=np.arange(count))
        finetune.train_linear(features, shuffled, tuned(epochs), seeds)
        scaled = controls.standardised({"train": features, "validation": features[0], "test": features[0]})
        finetune.train_linear(scaled["train"], labels, tuned(epochs), seeds)

    def recomputing(count):
        timed = train_recomputing(extractor, images, rows[:count], labels, tuned(args.epochs + 1), 0)[1]
        return epochs * np.median(timed[1:])

    names = f"{epochs} draws computed once (exact)", f"{draws} draws computed once", "computed in every epoch"
    seconds = {name: np.zeros(args.rounds) for name in names}
    for number in progress_bar(range(args.rounds), desc="rounds"):
        start = time.perf_counter()
        features = finetune.extract_crops(extractor, images, rows, args.draws, 0)
        per_draw = (time.perf_counter() - start) / args.draws
        # train_linear reads its draws from memory: as many as epochs, though with the few timed draws' values
        shared = features[np.arange(epochs) % args.draws]
        start = time.perf_counter()
        train_all(shared)
        trained = time.perf_counter() - start
        each = [recomputing(count) for count in counts]
        recomputed = len(seeds) * (sum(each) + 2 * each[-1])
        totals = epochs * per_draw + trained, draws * per_draw + trained, recomputed
        for name, total in zip(names, totals, strict=True):
            seconds[name][number] = total
    lines = [
        f"- profile {args.profile}: {trainings} trainings of {epochs} epochs, with {counts} labels and {len(seeds)} "
        f"seeds each, and with the same seeds {counts[-1]} shuffled labels, and {counts[-1]} on standardised features",
        f"- largest difference between the weights of the exact mode and of recomputing (4 epochs): {apart:.1e}",
        f"- {args.rounds} alternating rounds; recomputing is timed for {args.epochs} epochs of one seed at each label "
        f"count, the features of crops for {args.draws} draws, and multiplied; training on features is timed whole",
        *compare(seconds, trainings * epochs, "epochs"),
    ]
    record("Features of crops computed once", lines, args.dry_run)


if __name__ == "__main__":
    main()
