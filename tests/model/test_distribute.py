"""One device, two replicas in one process, and two processes train alike; a lost process ends the others, in words.

The file is also the program of these processes: ``python test_distribute.py DEVICES FOLDER`` trains into FOLDER.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

pytestmark = pytest.mark.slow  # they share trainings

ROOT = Path(__file__).resolve().parents[2]
SIZE, STEPS, BATCH = 16, 20, 8
LOG = np.log(2 * BATCH - 1)  # the history's loss is per row above it


def settings(**pretrain):
    """A tiny network with dropout, and a validation check after every step, so that the history is the trajectory.

    At three times this learning rate one device leaves its own trajectory by 3e-3 when its first weights are changed
    in the seventh digit: nothing could be told from a comparison.
    """
    from lhdlib import profile

    fixed = {"lr": 1e-3, "batch": BATCH, "drop_rate": 0.25, "w": 1e-3}
    checks = {"steps_per_epoch": 1, "max_epochs": STEPS, "patience": STEPS}
    network = {"blocks": (1,), "strides": (1,), "width": 8, "dim": 16}
    return profile.load("smoke").replace(encoder=network, pretrain=fixed | checks | pretrain)


def slices() -> np.ndarray:
    noise = np.random.default_rng(4).normal(size=(50, SIZE, SIZE))
    images = np.stack([ndimage.gaussian_filter(image, 1.5) for image in noise])
    return (images / images.std() / 4 + 0.5).astype(np.float16)


def train(folder: Path):
    """Pre-train on 40 slices of eight patients, ten more held out."""
    from lhdlib.model import pretrain

    patients = np.arange(50) // 5
    return pretrain.pretrain(slices(), np.arange(40), np.arange(40, 50), patients, settings(), 0, folder, "data")


# One step of plain gradient descent, without dropout: what the weights lose is the gradient of Eq. 6 with the L2 term

MAKE = ("contrastive_views", "draw")  # views that wait for the step, and views that the step's devices make
STEP = {"w": 0.5, "same_patient_negatives": False}
GROUPS = np.repeat([0, 1, 2, 3, 0, 1, 2, 2], 2)  # one patient's slices in both halves of the batch


def step_views(make: str = "contrastive_views"):
    from lhdlib import augment

    made = getattr(augment, make)(slices()[:BATCH][..., None], 1, settings())
    return made[0] if make == "draw" else made


def stepped(make: str) -> dict[str, np.ndarray]:
    """What one step on the devices of this process takes from each weight, and its report.

    `make` is the function of `augment` whose result the step gets: views, or what was drawn for them.
    """
    import keras
    import tensorflow as tf

    from lhdlib.model import distribute, encoder, pretrain

    with distribute.strategy().scope():
        model = encoder.build_encoder(SIZE, settings().encoder, 0.0, 3)
        optimizer = keras.optimizers.SGD(1.0)
        optimizer.build(model.trainable_variables)
    before = {v.path: v.numpy() for v in model.weights}
    report = pretrain.make_step(model, optimizer, settings(**STEP))(step_views(make), tf.constant(GROUPS))
    return {v.path: before[v.path] - v.numpy() for v in model.weights} | {k: v.numpy() for k, v in report.items()}


@pytest.fixture(scope="module")
def by_hand() -> dict[str, np.ndarray]:
    """The same from the loss alone, on one device."""
    import tensorflow as tf

    from lhdlib.model import encoder, losses

    model = encoder.build_encoder(SIZE, settings().encoder, 0.0, 3)
    statistics = {v.path: v.numpy() for v in model.non_trainable_variables}
    with tf.GradientTape() as tape:
        features = model(step_views(), training=True)
        loss = losses.contrastive_loss(features, settings().pretrain.temperature, "sum", tf.constant(GROUPS))
        squares = [tf.reduce_sum(v**2) for v in model.trainable_variables if v.path.endswith("kernel")]
        total = loss + STEP["w"] * tf.add_n(squares)
    gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
    moved = {v.path: statistics[v.path] - v.numpy() for v in model.non_trainable_variables}
    norms = np.linalg.norm(features, axis=1)
    report = {"loss": loss / (2 * BATCH) - LOG, "norm": norms.mean(), "norm_spread": norms.std()}
    report["accuracy"] = losses.contrastive_accuracy(features)
    names = [v.path for v in model.trainable_variables]
    return dict(zip(names, gradients, strict=True)) | moved | report


def close(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    rounding = 1e-4 if name.endswith("bias") else 1e-6  # a bias before normalisation has gradient 0
    limit = 1e-4 * float(np.abs(expected).max()) + rounding
    np.testing.assert_allclose(found, expected, atol=limit, rtol=0, err_msg=name)


# Processes


def environment(**more: str) -> dict[str, str]:
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    return {k: v for k, v in os.environ.items() if k != "TF_CONFIG"} | quiet | more


def start(devices: int, folder: Path, **more: str) -> subprocess.Popen:
    command = [sys.executable, __file__, str(devices), str(folder)]
    return subprocess.Popen(command, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start_workers(folder: Path, count: int = 2) -> list[subprocess.Popen]:
    """Two processes on the loopback address, or the first of them alone."""
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{free.getsockname()[1]}" for free in (one, other)]
    configs = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": n}} for n in range(count)]
    return [start(1, folder, TF_CONFIG=json.dumps(config)) for config in configs]


def ended(processes: list[subprocess.Popen], seconds: float = 300) -> list[tuple[int, str]]:
    """Exit codes and what was said on standard error; none is left behind."""
    try:
        said = [process.communicate(timeout=seconds)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def wait_for_epoch(folder: Path, epoch: int, processes: list[subprocess.Popen]) -> None:
    limit = time.monotonic() + 300
    while all(process.poll() is None for process in processes) and time.monotonic() < limit:
        if (folder / "checkpoint.npz").exists() and checkpointed(folder) >= epoch:
            return
        time.sleep(0.02)
    raise AssertionError(ended(processes))


def checkpointed(folder: Path) -> int:
    with np.load(folder / "checkpoint.npz") as stored:
        return len(json.loads(str(stored["history"])))


def survived(folder: Path, lost: int) -> tuple[float, tuple[int, str]]:
    """Train in two processes, kill one of them: when and how the other ended."""
    processes = start_workers(folder)
    wait_for_epoch(folder, 3, processes)
    processes[lost].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    ends = ended(processes)
    assert ends[lost][0] == -signal.SIGKILL
    return time.monotonic() - killed, ends[1 - lost]


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> tuple[Path, float, tuple[int, str]]:
    """Folder of two processes' run whose chief was killed, and when and how the other process ended."""
    folder = tmp_path_factory.mktemp("broken") / "run"
    return folder, *survived(folder, 0)


@pytest.fixture(scope="module")
def runs(broken, tmp_path_factory) -> dict[str, Path]:
    """Folders of finished trainings: one device (this process), two replicas, and the broken run of two processes,
    started again.
    """
    root = tmp_path_factory.mktemp("runs")
    folders = {name: root / name for name in ("one", "mirrored", "workers")}
    shutil.copytree(broken[0], folders["workers"])
    processes = [start(2, folders["mirrored"]), *start_workers(folders["workers"])]
    train(folders["one"])
    for code, said in ended(processes):
        assert code == 0, said
    return folders


def history(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "history.csv")


# Tests


@pytest.mark.long
@pytest.mark.parametrize("kind", ["mirrored", "workers"])
def test_trajectories_are_those_of_one_device(runs, kind):
    one, found = history(runs["one"]), history(runs[kind])
    assert len(found) == STEPS and list(found.columns) == list(one.columns)
    deviation = ((found.loss - one.loss) / (one.loss + LOG)).abs().max()
    print(f"{kind}: largest relative deviation of the loss over {STEPS} steps: {deviation:.1e}")
    assert deviation < 1e-4
    assert (found.same_patient_pairs == one.same_patient_pairs).all()
    np.testing.assert_allclose(found.norm, one.norm, rtol=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("kind", ["mirrored", "workers"])
def test_gradients_are_those_of_the_whole_batch(runs, by_hand, kind, make):
    """Also the report, and the move of batch normalisation's statistics, as one pass over all rows makes it."""
    with np.load(runs[kind].with_suffix(f".{make}.npz")) as found:
        assert set(found) == set(by_hand)
        for name, expected in by_hand.items():
            close(name, found[name], expected)


@pytest.mark.parametrize("make", MAKE)
def test_one_device_does_the_same(by_hand, make):
    for name, found in stepped(make).items():
        close(name, found, by_hand[name])


@pytest.mark.long
def test_the_encoder_does_not_tell_what_trained_it(runs):
    import keras

    models = {name: keras.saving.load_model(folder / "encoder.keras") for name, folder in runs.items()}
    keys = {(folder / "encoder.key").read_text() for folder in runs.values()}
    configs = {json.dumps(model.get_config(), sort_keys=True) for model in models.values()}
    assert len(keys) == len(configs) == 1
    files = {tuple(sorted(path.name for path in folder.iterdir())) for folder in runs.values()}
    assert files == {("encoder.keras", "encoder.key", "history.csv")}


def check_survivor(seconds: float, code: int, said: str) -> None:
    assert code == 2, said
    assert "Error: Another worker of this training has ended or cannot be reached: start all workers again" in said
    assert "Traceback" not in said
    print(f"ended {seconds:.1f} s after the other was killed")
    assert seconds < 60


@pytest.mark.long
def test_a_lost_chief_ends_the_others_in_one_sentence(broken):
    _, seconds, end = broken
    check_survivor(seconds, *end)


@pytest.mark.long
def test_a_lost_worker_ends_the_chief_in_one_sentence(tmp_path):
    """Its checkpoint stays whole, and nobody takes the training for finished."""
    seconds, end = survived(tmp_path / "run", 1)
    check_survivor(seconds, *end)
    assert 3 <= checkpointed(tmp_path / "run") < STEPS
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint.npz"]


def test_who_waits_for_a_worker_that_never_starts_says_so(tmp_path):
    (alone,) = start_workers(tmp_path, 1)
    limit = threading.Timer(120, alone.kill)
    limit.start()
    try:
        assert any("Waiting until all workers of TF_CONFIG have started." in line for line in alone.stderr)
        assert alone.poll() is None
    finally:
        limit.cancel()
        alone.kill()
        alone.communicate()


@pytest.mark.long
def test_restarted_processes_end_as_if_nothing_had_happened(runs, broken):
    """Two replicas sum as two processes do, so that the undisturbed run of the ones is that of the others."""
    assert 3 <= checkpointed(broken[0]) < STEPS
    restarted, undisturbed = history(runs["workers"]), history(runs["mirrored"])
    np.testing.assert_allclose(restarted, undisturbed, rtol=1e-6, atol=1e-6)


@pytest.mark.long
def test_a_checkpoint_of_two_processes_goes_on_on_one_device(runs, broken, tmp_path):
    folder = shutil.copytree(broken[0], tmp_path / "run")
    done = checkpointed(folder)
    found, undisturbed = train(folder)[1], history(runs["workers"])
    pd.testing.assert_frame_equal(found[:done], undisturbed[:done])
    np.testing.assert_allclose(found.loss, undisturbed.loss, atol=1e-4 * LOG)


# The environment


def config(index: int = 0, kind: str = "worker", **cluster: int) -> str:
    addresses = {job: [f"127.0.0.1:{port}" for port in range(count)] for job, count in cluster.items()}
    return json.dumps({"cluster": addresses, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    "value, chief",
    [
        (None, True),
        ("", True),
        ("{}", True),
        (config(worker=1), True),
        (config(worker=2), True),
        (config(1, worker=2), False),
        (config(worker=1, chief=1), False),
        (config(kind="chief", worker=1, chief=1), True),
    ],
)
def test_who_writes(monkeypatch, value, chief):
    from lhdlib.model import distribute

    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    assert distribute.is_chief() is chief


@pytest.mark.parametrize(
    "value", ["{", "[]", '{"cluster": 1}', '{"cluster": {"worker": ["a:1", "b:1"]}}', config(2, worker=2)]
)
def test_a_config_that_names_no_place_for_this_process(monkeypatch, value):
    from lhdlib.errors import UserError
    from lhdlib.model import distribute

    monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(UserError, match="TF_CONFIG must hold the JSON of a cluster"):
        distribute.is_chief()


def test_workers_are_for_fresh_processes(monkeypatch):
    import tensorflow as tf

    from lhdlib.errors import UserError
    from lhdlib.model import distribute

    assert distribute.strategy() is tf.distribute.get_strategy()  # this process has one device
    tf.constant(0.0)
    monkeypatch.setenv("TF_CONFIG", config(worker=2))
    with pytest.raises(UserError, match="used TensorFlow already.*lhdlib sweep"):
        distribute.strategy.__wrapped__()


def test_settings_for_one_device_only(monkeypatch):
    from types import SimpleNamespace

    from lhdlib.errors import UserError
    from lhdlib.model import distribute

    monkeypatch.setattr(distribute, "strategy", lambda: SimpleNamespace(num_replicas_in_sync=3))
    assert distribute.replicas(settings(batch=9).pretrain) == 3
    with pytest.raises(UserError, match="A batch of 8 images cannot be shared equally by 3 devices"):
        distribute.replicas(settings(batch=8).pretrain)
    with pytest.raises(UserError, match="'jit' .* compiles for one device and 3 are in use"):
        distribute.replicas(settings(batch=9, jit=True).pretrain)


def test_folders_that_differ(monkeypatch, tmp_path):
    from lhdlib.errors import UserError
    from lhdlib.model import distribute

    monkeypatch.setattr(distribute, "_gathered", lambda value: np.array([value, value]))
    distribute.same(1, tmp_path)
    monkeypatch.setattr(distribute, "_gathered", lambda value: np.array([value, 0.0]))
    with pytest.raises(UserError, match="find different files"):
        distribute.same(1, tmp_path)


def main(devices: int, folder: Path) -> int:
    import tensorflow as tf

    from lhdlib.errors import UserError
    from lhdlib.model import distribute

    if devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    try:
        train(folder)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    for make in MAKE:
        found = stepped(make)
        if distribute.is_chief():
            np.savez(folder.with_suffix(f".{make}.npz"), **found)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
