"""Devices of the pre-training: one device, on all GPUs of a machine, or on several machines (``tf.distribute``).

The environment decides, in TensorFlow's own terms: ``TF_CONFIG`` with more than one worker means those machines;
otherwise all visible GPUs are used (``CUDA_VISIBLE_DEVICES`` chooses among them); one GPU, or none, is one device.

A *replica* is one device's copy of the network. Each takes its share of the batch's rows, and whatever couples rows
is computed over all of them: batch normalisation's statistics, the loss, whose negatives are gathered from all
replicas, and dropout's mask. So the method does not depend on the number of devices, and the results agree up to
rounding.

Several machines must see one results folder: the chief (the first of ``TF_CONFIG``) writes, all of them read.
"""

import contextlib
import functools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from lhdlib.errors import UserError
from lhdlib.profile import Pretrain

PATIENCE_S = 600  # for which a process waits in a collective operation; the others may still build their graphs
LOST = (  # what the runtime raises in the survivors when a process has died, restarted or stopped answering
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)


@functools.cache
def strategy() -> tf.distribute.Strategy:
    """The strategy that the environment asks for; a process keeps it for all its life.

    Raises
    ------
    UserError
        For an unusable ``TF_CONFIG``, or several workers in a process that has used TensorFlow before.
    """
    if len(_members()[0]) > 1:
        print("Waiting until all workers of TF_CONFIG have started.", file=sys.stderr, flush=True)
        options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=PATIENCE_S)
        try:
            return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
        except RuntimeError as error:
            raise UserError(
                "TF_CONFIG names several workers, but this process has used TensorFlow already: train with "
                "'lhdlib sweep' on each worker, or unset TF_CONFIG."
            ) from error
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else tf.distribute.get_strategy()


def replicas(settings: Pretrain) -> int:
    """Number of replicas.

    Raises
    ------
    UserError
        When they cannot share a batch equally, or several shall run a step that is compiled for one device.
    """
    count = strategy().num_replicas_in_sync
    if settings.batch % count:
        raise UserError(
            f"A batch of {settings.batch} images cannot be shared equally by {count} devices: change 'batch' in "
            "[pretrain] of the profile, or the devices (CUDA_VISIBLE_DEVICES, TF_CONFIG)."
        )
    if settings.jit and count > 1:
        raise UserError(
            f"'jit' in [pretrain] of the profile compiles for one device and {count} are in use: set it to false, or "
            "choose one device with CUDA_VISIBLE_DEVICES."
        )
    return count


def accelerated() -> bool:
    """Whether a GPU computes: then the views, too, are made there, by the training step itself."""
    return bool(tf.config.list_logical_devices("GPU"))


def is_chief() -> bool:
    """Whether this process writes the files and shows the progress: the only one, or the first of ``TF_CONFIG``."""
    members, own = _members()
    return own == members[0]


def share(batch: tf.Tensor) -> tf.Tensor:
    """In a replica: its rows of the batch, consecutive, so that the two views of an image stay together."""
    count = strategy().num_replicas_in_sync
    if count == 1:
        return batch
    rows = tf.shape(batch)[0] // count
    start = tf.distribute.get_replica_context().replica_id_in_sync_group * rows
    return batch[start : start + rows]


def gather(rows: tf.Tensor) -> tf.Tensor:
    """In a replica: the rows of all replicas, in the batch's order.

    The gradient of a sum over the replicas flows back into each replica's own rows.
    """
    return rows if strategy().num_replicas_in_sync == 1 else tf.distribute.get_replica_context().all_gather(rows, 0)


@contextlib.contextmanager
def synchronised(model: keras.Model) -> Iterator[None]:
    """While the body traces a step of several replicas, batch normalisation's statistics are those of all rows."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.synchronized = strategy().num_replicas_in_sync > 1
    try:
        yield
    finally:
        for layer in norms:
            layer.synchronized = False  # so that the saved encoder does not tell what trained it


def from_chief(value: float) -> float:
    """The chief's value of a number, in every process: decisions must not hang on another machine's rounding."""
    return float(_gathered(value)[0])


def same(value: float, folder: Path) -> None:
    """Wait for all processes, and check that they found the same in `folder`.

    Raises
    ------
    UserError
        When they did not: they see different folders.
    """
    if len(np.unique(_gathered(value))) > 1:
        raise UserError(
            f"The workers of TF_CONFIG find different files in {folder}: name a folder that they share with --results."
        )


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Say in one sentence that another process was lost; as decorator or ``with``.

    Raises
    ------
    UserError
        When another process has ended (noticed within seconds) or has not answered for `PATIENCE_S`.
    """
    try:
        yield
    except LOST as error:
        if len(_members()[0]) == 1:
            raise
        raise UserError(
            "Another worker of this training has ended or cannot be reached: start all workers again, and the "
            "training goes on from its last checkpoint."
        ) from error


def _members() -> tuple[list[str], str]:
    """The processes that train together, the chief first, and which of them this one is."""
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        cluster = config.get("cluster", {})
        members = [f"{job}:{number}" for job in ("chief", "worker") for number in range(len(cluster.get(job, [])))]
        if len(members) < 2:
            return ["alone"], "alone"
        own = f"{config['task']['type']}:{config['task']['index']}"
        members.index(own)
        return members, own
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(
            "TF_CONFIG must hold the JSON of a cluster with 'chief' or 'worker' addresses and a 'task' among them: "
            "mend it, or unset it to train on this machine alone."
        ) from error


@tf.function
def _all_gather(value):
    return strategy().run(lambda own: gather(tf.identity(own)), args=(value,))


def _gathered(value: float) -> np.ndarray:
    if len(_members()[0]) == 1:
        return np.array([value], float)
    return strategy().experimental_local_results(_all_gather(tf.constant([value], tf.float64)))[0].numpy()
