"""Views per second of pre-training's step, beside a bare ``keras.applications.ResNet50``.

At the paper's image size and at the demo's: the paper's network (ResNet-50 with its four fully connected blocks, the
contrastive loss, L2 and Adam), and ResNet-50 alone with a trivial loss, with Adam and without, on the same views. The
optimiser's and L2's time does not depend on the batch, so it weighs most where batch and images are small. GFLOP/s
count the multiplications and additions of convolutions and dense layers, beside a matrix product's in the same rounds.
Then: how long training waits for its views, peak memory of each side in a process of its own, and, asked for with
``--xla``, the sides compiled.
"""

import functools
import itertools
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from benchmarks.record import record
from benchmarks.side_by_side import alternate, compare, options
from lhdlib import augment, profile
from lhdlib.model import encoder, pretrain
from lhdlib.profile import Profile

MATRIX = 2048  # side of the matrices whose product shows the machine's peak
OURS, PRODUCT = "lhdlib step", "matrix product"


def settings(size: int, batch: int, xla: bool = False) -> Profile:
    """Profile `paper` at another image size and batch."""
    return profile.load("paper").replace(data={"image_size": size}, pretrain={"batch": batch, "jit": xla})


def images(chosen: Profile) -> np.ndarray:
    """Random slices of a batch: what they show does not matter for time; (batch, W, W, 1), float16 as in the store."""
    size = chosen.data.image_size
    return np.random.default_rng(0).random((chosen.pretrain.batch, size, size, 1)).astype(np.float16)


def our_step(chosen: Profile) -> tuple[keras.Model, Callable[[tf.Tensor], float]]:
    """Model and pre-training's own step."""
    model = encoder.build_encoder(chosen.data.image_size, chosen.encoder, chosen.pretrain.drop_rate, seed=0)
    step = pretrain.make_step(model, keras.optimizers.Adam(chosen.pretrain.lr), chosen)
    return model, lambda views: float(step(views, tf.zeros(len(views), tf.int32))["loss"])


def bare_step(chosen: Profile, adam: bool = False) -> tuple[keras.Model, Callable[[tf.Tensor], float]]:
    """Model and gradients of ResNet-50's mean pooled feature, which Adam applies if asked to."""
    shape = (chosen.data.image_size, chosen.data.image_size, 1)
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=shape, pooling="avg")
    optimizer = keras.optimizers.Adam(chosen.pretrain.lr)
    optimizer.build(model.trainable_variables if adam else [])

    @tf.function(jit_compile=chosen.pretrain.jit)
    def step(views):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(views, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        if adam:
            optimizer.apply(gradients, model.trainable_variables)
            return [loss]
        return [loss, *gradients]  # returned, or they would not be computed

    return model, lambda views: float(step(views)[0])


STEPS = {
    OURS: our_step,
    "ResNet50, forward, backward and Adam": functools.partial(bare_step, adam=True),
    "ResNet50, forward and backward": bare_step,
}


def our_name(theirs: str) -> str:
    """Name here of a layer of Keras' ResNet50: conv3_block2_1_bn -> stage2_block2_1_bn, conv1_conv -> stem_conv."""
    stage, rest = theirs.split("_", 1)
    return f"stem_{rest}" if stage == "conv1" else f"stage{int(stage[4:]) - 1}_{rest}"


def differences(size: int = 64, batch: int = 8) -> dict[str, float]:
    """Relative differences between the sides' ResNets in training mode, given the same weights and views.

    Of the pooled features, and of the norms of the gradients of `bare_step` by each weight. The gradients themselves
    differ by some per cent, as either network's own do when the views change in the seventh digit.
    """
    chosen = settings(size, batch)
    network, theirs = our_step(chosen)[0], bare_step(chosen)[0]
    ours = keras.Model(network.input, network.get_layer("pool").output)
    layers = {layer: ours.get_layer(our_name(layer.name)) for layer in theirs.layers if layer.weights}
    for layer, own in layers.items():
        layer.set_weights(own.get_weights())
    views = augment.contrastive_views(images(chosen), 0, chosen)

    def passed(model, layers):
        weights = [weight.value for layer in layers for weight in layer.trainable_weights]
        with tf.GradientTape() as tape:
            pooled = model(views, training=True)
            loss = tf.reduce_mean(pooled)
        gradients = tape.gradient(loss, weights)
        return {"features": pooled, "gradients' norms": tf.stack([tf.norm(gradient) for gradient in gradients])}

    found, wanted = passed(ours, layers.values()), passed(theirs, layers)
    return {name: float(tf.norm(found[name] - wanted[name]) / tf.norm(wanted[name])) for name in wanted}


def training_flops(model: keras.Model) -> float:
    """Per view: each convolution and dense layer forwards, and backwards to its weights and to its input."""
    forward = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            places = np.prod(layer.output.shape[1:-1])
            forward.append(2.0 * np.prod(layer.kernel.shape) * places)
    return 3 * sum(forward) - forward[0]  # no gradient reaches the image


def peak_memory(name: str, chosen: Profile) -> float:
    """Largest memory (GiB) of this process after two steps of the named side."""
    views = augment.contrastive_views(images(chosen), 0, chosen)
    _, step = STEPS[name](chosen)
    for _ in range(2):
        step(views)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def in_own_process(name: str, chosen: Profile) -> float:
    """`peak_memory` in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(peak_memory, name, chosen).result()


def side_by_side(chosen: Profile, rounds: int) -> list[str]:
    """Rates of all sides and of a matrix product, taken in turn."""
    views = augment.contrastive_views(images(chosen), 0, chosen)
    matrix = tf.random.normal((MATRIX, MATRIX))
    built = {name: build(chosen) for name, build in STEPS.items()}
    ways = {name: lambda step=step: step(views) for name, (_, step) in built.items()}
    seconds = alternate({**ways, PRODUCT: lambda: float(tf.matmul(matrix, matrix)[0, 0])}, rounds)
    product = seconds.pop(PRODUCT)
    peak = 2e-9 * MATRIX**3 / product.min()
    lines = compare(seconds, len(views), "views")
    for name, (model, _) in built.items():
        rate = 1e-9 * training_flops(model) * len(views) / np.median(seconds[name])
        lines.append(
            f"- {name}: {rate:.0f} GFLOP/s, {rate / peak:.2f} of the matrix product's {peak:.0f} (its best of {rounds})"
        )
    return lines


def waiting(chosen: Profile, steps: int) -> str:
    """Share of the time of pre-training for which the step waits for its views, made in turn and made ahead."""
    slices, (_, step) = images(chosen), our_step(chosen)

    def make(number):
        return augment.contrastive_views(slices, (0, number), chosen)

    step(make(0))
    shares = []
    for source in (map(make, range(steps)), augment.ahead(make, range(steps))):
        waited = trained = 0.0
        for number in itertools.count():
            start = time.perf_counter()
            views = next(source, None)
            if views is None:
                break
            ready = time.perf_counter()
            step(views)
            if number > 0:  # the very first views have nothing to hide behind
                waited, trained = waited + ready - start, trained + time.perf_counter() - ready
        shares.append(f"{100 * waited / (waited + trained):.1f} % ({1000 * (waited + trained) / (steps - 1):.0f} ms)")
    return f"waits for its views {shares[0]} of a step's time, {shares[1]} when they are made ahead; {steps} steps"


def main() -> None:
    """Time the sides at both sizes, the waiting, the memory; record."""
    parser = options(__doc__.splitlines()[0], rounds=5)
    parser.add_argument("--batch", type=int, help="images, two views each (16 at the paper's size, 64 at the demo's)")
    parser.add_argument("--steps", type=int, default=5, help="steps in which the waiting is measured")
    parser.add_argument("--xla", action="store_true", help="measure the sides compiled as well")
    parser.add_argument("--sizes", nargs="+", default=["paper", "demo"], choices=["paper", "demo"])
    args = parser.parse_args()
    lines, batches = [], {"paper": args.batch or 16, "demo": args.batch or 64}  # the paper's 32 need 12 GiB
    all_chosen = {name: settings(profile.load(name).data.image_size, batches[name]) for name in args.sizes}
    # before all else, while this process is small: a new one counts as large as the one that starts it
    memories = {name: {side: in_own_process(side, chosen) for side in STEPS} for name, chosen in all_chosen.items()}
    apart = differences()
    np.testing.assert_array_less(list(apart.values()), 5e-3)
    lines.append(
        "- same weights, same views, training mode: relative difference between the sides' ResNets "
        + ", ".join(f"{value:.1e} of {name}" for name, value in apart.items())
    )
    for name, chosen in all_chosen.items():
        own, batch, memory = profile.load(name), batches[name], memories[name]
        trained = own if name == "demo" else chosen  # the demo's own network and batch: the shortest step
        lines += [
            f"- size of profile {name}: {2 * batch} views of {own.data.image_size} x {own.data.image_size}, "
            f"{args.rounds} alternating rounds",
            *(f"  {line}" for line in side_by_side(chosen, args.rounds)),
            "  - peak memory: " + ", ".join(f"{side} {gib:.2f} GiB" for side, gib in memory.items()),
            f"  - training the network of profile {name} {waiting(trained, args.steps)}",
        ]
        if args.xla:
            compiled = side_by_side(settings(own.data.image_size, batch, xla=True), args.rounds)
            lines += ["  - compiled with XLA:", *(f"    {line}" for line in compiled)]
    record("Training step", lines, args.dry_run)


if __name__ == "__main__":
    main()
