"""The command that writes a model's file, and a study read with the file alone."""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pytest

from lhdlib.errors import UserError
from lhdlib.model import encoder, kinds
from lhdlib.show import export, model_file, reader, study
from tests.data.trees import is_sentence
from tests.show.test_study import PHANTOM, PROFILE, finished, study_folder, tree  # noqa: F401  (a fixture)

pytestmark = pytest.mark.slow  # all of them need what is written once for this file


def command(*arguments) -> int:
    """``lhdlib export`` with these arguments."""
    parser = argparse.ArgumentParser()
    export.add_arguments(parser)
    return export.run(parser.parse_args(list(map(str, arguments))))


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A finished run without a dataset, whose network has random numbers."""
    network = encoder.build_encoder(PROFILE.data.image_size, PROFILE.encoder, 0.1, 3)
    rng = np.random.default_rng(1)
    for weight in network.weights:
        weight.assign(rng.normal(0.1, 0.1, weight.shape) ** 2)
    weights = rng.normal(size=(2, 3, PROFILE.encoder.dim)).astype(np.float32)
    monkeypatch.setattr(reader, "stored_model", lambda run: (network, weights, np.array([0.1, 0.2], np.float32)))
    monkeypatch.setattr(export, "card", lambda run: "# Card")
    return finished(tmp_path / "run")


def test_a_study_has_the_same_probabilities_by_the_file_on_a_machine_without_data(run, tree, tmp_path, capsys):  # noqa: F811
    assert command(run, tmp_path / "model.zip") == 0
    assert str(tmp_path / "model.zip") in capsys.readouterr().out
    network, weights, bias = reader.stored_model(None)
    whole = reader.Model(study.finished_run(run), encoder.extractor(network), weights[0], float(bias[0]), frozenset())
    shutil.rmtree(run)
    found = study.find_study(study_folder(tree))
    (tmp_path / "elsewhere").mkdir()
    path = Path(shutil.move(tmp_path / "model.zip", tmp_path / "elsewhere" / "model.zip"))
    read = reader.read_study(found, reader.load_model(study.finished_run(path)))
    expected = reader.read_study(found, whole)
    np.testing.assert_allclose(read.table.probability, expected.table.probability, atol=1e-6)
    assert read.table.probability.nunique() > 1 and read.trained_on == PHANTOM
    assert reader.TRAVELLED in read.warning and reader.TRAVELLED not in expected.warning
    assert study.default_parent(path) == path.with_name("model_studies")


def test_the_kinds_travel_with_the_model_and_a_file_without_them_says_nothing_of_kinds(run, tree, tmp_path):  # noqa: F811
    command(run, tmp_path / "plain.zip")
    (run / "04").mkdir()
    (run / kinds.CLASSIFIER).write_bytes(b"classifier")
    rng, shape = np.random.default_rng(4), (2, len(kinds.KINDS))
    head = kinds.Head(rng.normal(size=(*shape, 3, PROFILE.encoder.dim)).astype(np.float32), np.ones(shape, np.float32))
    kinds.save_head(run, head, np.zeros((0, 3), int), np.zeros((2, 0, shape[1])))
    command(run, tmp_path / "model.zip")
    found, read = study.find_study(study_folder(tree)), {}
    for name in ("plain", "model"):
        travelled = reader.load_model(study.finished_run(tmp_path / f"{name}.zip"))
        read[name] = reader.read_study(found, travelled)
    np.testing.assert_allclose(travelled.kinds.weights[0], head.weights[0])
    assert read["plain"].reading.kinds is None and not set(kinds.KINDS) & set(read["plain"].table)
    said = read["model"].reading.kinds
    assert list(said.columns) == list(kinds.KINDS) and len(said) == len(read["model"].reading.discs)
    assert ((said > 0) & (said < 1)).all(axis=None) and said.bulge.nunique() > 1
    plain = read["model"].table.drop(columns=list(kinds.KINDS))
    np.testing.assert_allclose(plain.probability, read["plain"].table.probability, atol=1e-6)
    page, path = reader.save_study(read["model"], tmp_path / "out")
    assert "annular tear" in page.read_text() and "annular tear" in path.read_text().splitlines()[0]
    page, path = reader.save_study(read["plain"], tmp_path / "out")
    assert "annular tear" not in page.read_text() + path.read_text()
    model = model_file.read_model(tmp_path / "model.zip")
    gone = {name: values for name, values in model.arrays.items() if not name.startswith("kinds/bulge")}
    model_file.write_model(tmp_path / "b.zip", model_file.ModelFile(model.profile, model.stamp, gone), "")
    with pytest.raises(UserError, match="kinds of lesion are others") as error:
        reader.load_model(study.finished_run(tmp_path / "b.zip"))
    assert is_sentence(error)


def test_arrays_of_other_names_are_one_sentence(run, tmp_path):
    command(run, tmp_path / "model.zip")
    model = model_file.read_model(tmp_path / "model.zip")
    renamed = {name.replace("stem_conv", "steam_conv"): values for name, values in model.arrays.items()}
    model_file.write_model(tmp_path / "b.zip", model_file.ModelFile(model.profile, model.stamp, renamed), "")
    with pytest.raises(UserError, match="other names") as error:
        reader.load_model(study.finished_run(tmp_path / "b.zip"))
    assert is_sentence(error)


@pytest.mark.parametrize("wrong", ["no run", "a file for a run", "a folder for the file", "no folder"])
def test_wrong_arguments_are_one_sentence(wrong, run, tmp_path):
    (tmp_path / "file").write_text("")
    calls = {
        "no run": (tmp_path / "none", tmp_path / "model.zip"),
        "a file for a run": (tmp_path / "file", tmp_path / "model.zip"),
        "a folder for the file": (run, tmp_path),
        "no folder": (run, tmp_path / "file" / "model.zip"),
    }
    with pytest.raises(UserError) as error:
        command(*calls[wrong])
    assert is_sentence(error)


def test_the_card_says_what_it_saw_and_what_it_is_not_for(smoke):
    said = export.card(study.finished_run(smoke.results))
    for words in ("phantom", "not for clinical use", "never shown", "Accuracy: ", "patients", "intervals"):
        assert words in said
