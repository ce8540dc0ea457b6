"""The command that writes a model's file, and a study read with the file alone."""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pytest

from lhdlib.errors import UserError
from lhdlib.model import encoder
from lhdlib.show import export, model_file, reader, study
from tests.data.trees import is_sentence
from tests.show.test_study import PHANTOM, PROFILE, finished, study_folder, tree  # noqa: F401  (a fixture)


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


@pytest.mark.slow
def test_the_card_says_what_it_saw_and_what_it_is_not_for(smoke):
    said = export.card(study.finished_run(smoke.results))
    for words in ("phantom", "not for clinical use", "never shown", "Accuracy: ", "patients", "intervals"):
        assert words in said
