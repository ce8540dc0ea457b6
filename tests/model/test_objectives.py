"""Pre-trainings of each objective: which seeds, and in which folders."""

import pytest

from lhdlib import profile
from lhdlib.model import losses, objectives, pretrain

SETTINGS = profile.load("smoke").replace(beyond={"pretrainings": 3}, finetune={"encoders": 2})


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_each_pre_training_has_its_seed_and_folder(tmp_path, monkeypatch, name):
    def record(data, chosen, seed, root):
        return chosen.pretrain.objective, seed, root

    monkeypatch.setattr(pretrain, "pretrained", record)
    kept, folder = tmp_path / "03", tmp_path / "09"
    found = objectives.pretrained_with(name, None, SETTINGS, 5, kept=kept, folder=folder)
    assert [one[:2] for one in found] == [(name, 5), (name, 6), (name, 7)]
    own = [folder / name / f"seed{seed}" for seed in (5, 6, 7)]
    expected = [kept, kept / "seed6", own[2]] if name == "inner-product" else own
    assert [one[2] for one in found] == expected


def test_the_papers_trainings_are_those_of_notebook_03(tmp_path, monkeypatch):
    def record(data, chosen, seed, root):
        asked.append((chosen, seed, root))

    asked: list = []
    monkeypatch.setattr(pretrain, "pretrained", record)
    pretrain.repeated(None, SETTINGS, 5, tmp_path)
    first = list(asked)
    asked.clear()
    objectives.pretrained_with(losses.PAPERS, None, SETTINGS, 5, kept=tmp_path, folder=tmp_path / "09")
    assert asked[:2] == first


def test_every_objective_has_its_source():
    assert list(objectives.SOURCES) == list(objectives.OBJECTIVES)
    assert objectives.OBJECTIVES[0] == losses.PAPERS
