"""A model as a file: what is written is read again, and damaged, foreign or hostile files are one sentence."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lhdlib import profile as profiles
from lhdlib.errors import UserError
from lhdlib.model import encoder
from lhdlib.model.kinds import KINDS
from lhdlib.show import model_file
from lhdlib.show.model_file import ModelFile, numbers_of, read_model, write_model
from tests.data.trees import is_sentence

PROFILE = profiles.load("smoke")
STAMP = {"profile": "smoke", "data": "phantom", "seed": "0"}


@pytest.fixture(scope="module")
def model() -> ModelFile:
    """A network of random numbers with three classifiers and a head for one kind of lesion."""
    network = encoder.build_encoder(PROFILE.data.image_size, PROFILE.encoder, 0.0, 0)
    rng = np.random.default_rng(0)
    arrays = {f"encoder/{w.path}": rng.normal(size=w.shape).astype(np.float32) for w in network.weights}
    arrays["classifier/weights"] = rng.normal(size=(3, 3, PROFILE.encoder.dim)).astype(np.float32)
    arrays["classifier/bias"] = np.zeros(3, np.float32)
    shapes = (3, PROFILE.encoder.dim), (1,)
    kind = zip(model_file.kind_names("bulge"), shapes, strict=True)
    arrays |= {name: rng.normal(size=shape).astype(np.float32) for name, shape in kind}
    return ModelFile(PROFILE, STAMP, arrays)


@pytest.fixture(scope="module")
def sound(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.zip"
    write_model(path, model, "# Card")
    return path


@pytest.mark.slow
def test_what_is_written_is_read_again(sound, model):
    found = read_model(sound)
    assert (found.profile, found.stamp) == (model.profile, model.stamp)
    assert found.arrays.keys() == model.arrays.keys()
    assert all((found.arrays[name] == values).all() for name, values in model.arrays.items())


@pytest.mark.slow
def test_equal_models_are_equal_files_and_plain_arrays(sound, model, tmp_path):
    write_model(tmp_path / "again.zip", model, "# Card")
    assert (tmp_path / "again.zip").read_bytes() == sound.read_bytes()
    with np.load(sound, allow_pickle=False) as stored:  # as any program would
        np.testing.assert_array_equal(stored["classifier/weights"], model.arrays["classifier/weights"])


@pytest.mark.slow
@pytest.mark.parametrize("name", profiles.names())
def test_the_numbers_of_a_network_are_counted_without_building_it(name):
    settings = profiles.load(name).encoder
    assert numbers_of(settings) == encoder.build_encoder(32, settings, 0.0, 0).count_params()


def test_the_demos_model_is_under_five_megabytes():
    demo = profiles.load("demo")
    heads = (demo.finetune.encoders * demo.finetune.seeds + len(KINDS)) * (3 * demo.encoder.dim + 1)
    texts = 50_000  # description, card, and what the archive writes of each of some hundred members
    assert 4 * (numbers_of(demo.encoder) + heads) + texts < 5e6


def test_a_file_without_kinds_is_read(model, tmp_path):
    plain = {name: values for name, values in model.arrays.items() if not name.startswith(model_file.KINDS)}
    write_model(tmp_path / "model.zip", ModelFile(model.profile, model.stamp, plain), "")
    assert read_model(tmp_path / "model.zip").arrays.keys() == plain.keys()


# Wrong files


def changed(sound: Path, path: Path, edit, sign: bool = True) -> Path:
    """The sound file with its members changed by `edit`, and, like a hostile file's, checksums that fit."""
    with zipfile.ZipFile(sound) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(members.pop(model_file.ABOUT))
    edit(about, members)
    if sign:
        about["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {model_file.ABOUT: json.dumps(about).encode(), **members}.items():
            archive.writestr(name, content)
    return path


def array(values: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, values, version=(1, 0), **options)
    return file.getvalue()


BIAS, CONV = "classifier/bias.npy", "encoder/stem_conv/kernel.npy"
ABSURD = array(np.zeros(3, np.float32)).replace(b"(3,), }", b"(9000000000,), }")
EDITS = {
    "checksum": lambda about, members: about["sha256"].update({BIAS: "0"}),
    "another format": lambda about, members: about.update(format="other"),
    "no profile": lambda about, members: about.pop("profile"),
    "unknown key": lambda about, members: about["profile"]["values"]["data"].update(evil=1),
    "absurd width": lambda about, members: about["profile"]["values"]["encoder"].update(width=10**6),
    "many blocks": lambda about, members: about["profile"]["values"]["encoder"].update(blocks=[10**9, 1]),
    "another width": lambda about, members: about["profile"]["values"]["encoder"].update(width=12),
    "no stride": lambda about, members: about["profile"]["values"]["encoder"].update(strides=[0, 0]),
    "absurd image": lambda about, members: about["profile"]["values"]["data"].update(image_size=10**6),
    "no number": lambda about, members: about["profile"]["values"]["data"].update(field_of_view_mm=float("nan")),
    "no origin": lambda about, members: about.pop("stamp"),
    "origin of a study": lambda about, members: about["stamp"].update(folder="another"),
    "long origin": lambda about, members: about["stamp"].update(data="x" * 1000),
    "code": lambda about, members: members.update({"run.py": b"print(1)"}),
    "a path above": lambda about, members: members.update({"../../evil.npy": members[BIAS]}),
    "an absolute path": lambda about, members: members.update({"/tmp/evil.npy": members[BIAS]}),
    "a pickle": lambda about, members: members.update({BIAS: array(np.array([{}, 1, 2], object), allow_pickle=True)}),
    "doubles": lambda about, members: members.update({BIAS: array(np.zeros(3))}),
    "absurd shape": lambda about, members: members.update({BIAS: ABSURD}),
    "not finite": lambda about, members: members.update({BIAS: array(np.full(3, np.nan, np.float32))}),
    "no classifier": lambda about, members: members.pop(BIAS),
    "an array less": lambda about, members: members.pop(CONV),
    "a kind of another size": lambda about, members: members.update({"kinds/bulge/weights.npy": members[BIAS]}),
    "an array more": lambda about, members: members.update({"encoder/more/kernel.npy": members[CONV]}),
    "no array": lambda about, members: members.update({CONV: b"none"}),
    "no card": lambda about, members: members.pop(model_file.CARD),
    "long card": lambda about, members: members.update({model_file.CARD: bytes(2**20 + 1)}),
}


@pytest.mark.parametrize("name", EDITS)
def test_hostile_files_are_one_sentence(name, sound, tmp_path):
    path = changed(sound, tmp_path / "model.zip", EDITS[name], sign=name != "checksum")
    with pytest.raises(UserError, match="is no model of this project") as error:
        read_model(path)
    assert is_sentence(error), str(error.value)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04" + bytes(99), bytes(5000)])
def test_other_files_are_one_sentence(content, tmp_path):
    (tmp_path / "model.zip").write_bytes(content)
    with pytest.raises(UserError, match="is no model of this project") as error:
        read_model(tmp_path / "model.zip")
    assert is_sentence(error)


def test_what_unpacks_to_an_absurd_size_is_not_unpacked(sound, tmp_path, monkeypatch):
    def bomb(about, members):
        members[BIAS] = bytes(10**7)

    path = changed(sound, tmp_path / "bomb.zip", bomb)
    monkeypatch.setattr(model_file, "MAX_BYTES", 10**7 - 1)
    with pytest.raises(UserError, match="it is too large"):
        read_model(path)
    with (
        zipfile.ZipFile(path) as archive,
        zipfile.ZipFile(tmp_path / "packed.zip", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    with pytest.raises(UserError, match="absurd size"):
        read_model(tmp_path / "packed.zip")
    monkeypatch.setattr(model_file, "MAX_MEMBERS", 3)
    with pytest.raises(UserError, match="too many members"):
        read_model(sound)


@pytest.mark.slow
def test_mutated_files_are_read_or_refused(sound, model, tmp_path):
    """500 of them: what is read at all is what was written."""
    rng, whole, refused = np.random.default_rng(19), sound.read_bytes(), 0
    for number in range(500):
        data, place = bytearray(whole), int(rng.integers(len(whole)))
        if number % 4 == 0:
            data[place] ^= 1 << int(rng.integers(8))
        elif number % 4 == 1:
            del data[place:]
        elif number % 4 == 2:
            data[place:place] = rng.bytes(int(rng.integers(1, 50)))
        else:
            for at in rng.integers(len(whole) - 3000, len(whole), 5):  # the list of members
                data[at] = int(rng.integers(256))
        (tmp_path / "model.zip").write_bytes(data)
        try:
            found = read_model(tmp_path / "model.zip")
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and str(error).endswith(".")
        else:
            assert all((found.arrays[name] == values).all() for name, values in model.arrays.items())
    assert refused > 400
