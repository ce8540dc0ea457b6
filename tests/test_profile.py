"""Profiles: what ships loads, what is misspelt or of the wrong kind is refused in one sentence."""

import copy
import dataclasses
from typing import Literal, get_args, get_origin

import pytest

from lhdlib import paper, profile
from lhdlib.errors import UserError


@pytest.fixture
def values() -> dict:
    """The smoke profile as nested dictionaries, as TOML gives them."""
    return copy.deepcopy(profile.tomllib.loads((profile.FOLDER / "smoke.toml").read_text(encoding="utf-8")))


def refused(values: dict) -> str:
    """Message of the refusal: one sentence that names the profile."""
    with pytest.raises(UserError) as error:
        profile.from_dict("mine", values)
    message = str(error.value)
    assert message.endswith(".") and "\n" not in message and "'mine'" in message
    return message


def test_the_shipped_profiles():
    assert {"smoke", "demo", "paper"} <= set(profile.names())


@pytest.mark.parametrize("name", profile.names())
def test_every_shipped_profile_loads(name):
    loaded = profile.load(name)
    assert loaded.name == name
    for field in dataclasses.fields(loaded):
        section = getattr(loaded, field.name)
        for entry in dataclasses.fields(section) if dataclasses.is_dataclass(section) else ():
            value = getattr(section, entry.name)
            if get_origin(entry.type) is Literal:
                assert value in get_args(entry.type)
                continue
            assert isinstance(value, entry.type if isinstance(entry.type, type) else tuple), (field.name, entry.name)
            assert not isinstance(value, list)


@pytest.mark.parametrize("name", profile.names())
def test_values_make_sense(name):
    p = profile.load(name)
    assert 0 <= p.views.p_crop < 1 and 0 < p.views.blur_sigma[0] < p.views.blur_sigma[1]
    assert 0 <= p.pretrain.drop_rate < 1 and p.pretrain.temperature > 0
    assert p.finetune.draws <= p.finetune.epochs
    assert min(p.pretrain.batch, p.pretrain.max_epochs, p.pretrain.patience, p.finetune.seeds) >= 1


def test_paper_profile_has_the_papers_values():
    p = profile.load("paper")
    pretrain, views, finetune = p.pretrain, p.views, p.finetune
    assert {
        "lr": pretrain.lr, "b": pretrain.batch, "w": pretrain.w, "τ": pretrain.temperature,
        "dr": pretrain.drop_rate, "θ (°)": views.theta_deg, "p_crop": views.p_crop,
    } == paper.TABLE1  # fmt: skip
    assert {"lr": finetune.lr, "b": finetune.batch, "w": finetune.w} == paper.TABLE2
    assert (finetune.epochs, finetune.draws) == (paper.FINETUNE_EPOCHS, paper.FINETUNE_EPOCHS)  # fresh crops each epoch
    assert (p.supervised.lr, p.supervised.epochs) == (paper.SUPERVISED_LR, paper.SUPERVISED_EPOCHS)
    assert views.blur_sigma == paper.BLUR_SIGMA
    assert (p.data.image_size, p.encoder.dim) == (paper.IMAGE_SIZE, paper.FEATURE_DIM)
    assert (p.encoder.blocks, p.encoder.width) == ((3, 4, 6, 3), 64)
    assert p.data.pretrain_validation == paper.COUNTS["pre-training validation images"]
    assert 2 * p.data.test_per_class == paper.COUNTS["test samples"]
    assert 2 * p.data.validation_per_class == paper.COUNTS["validation samples"]
    assert p.data.split == "paper" and p.pretrain.same_patient_negatives
    assert (pretrain.w, pretrain.drop_rate) == paper.CHOSEN


def test_paper_values_equal_the_papers_text(real_dir):
    """Tables 1-3 as they stand in the paper, where its text lies beside the real data."""
    path = real_dir.parent / "paper" / "hou2023.txt"
    if not path.is_file():
        pytest.skip(f"the paper's text is not at {path}")
    text = path.read_text(encoding="utf-8")
    for (w, dr), row in paper.TABLE3.items():
        shown = "0" if w == 0 else r"1 \times 10^{-4}"
        line = f"$w = {shown}, dr = {dr:g}$\t" + "\t".join(f"{row[name]:.4f}" for name in ("ACC", "TPR", "TNR", "AUC"))
        assert line in text
    assert "Values\t1×10^{-4}\t32\t1×10^{-4}\t100\t0\t18°\t0.1\n" in text
    assert list(paper.TABLE1.values()) == [1e-4, 32, 1e-4, 100, 0, 18, 0.1]
    assert "Values\t1×10^{-4}\t32\t0\n" in text
    assert list(paper.TABLE2.values()) == [1e-4, 32, 0]


@pytest.mark.parametrize("name", ["nosuch", "", "../profile", "profiles/demo", "demo.toml", "Demo"])
def test_an_unknown_profile_is_refused(name):
    with pytest.raises(UserError, match=r"^There is no profile .*: choose one of demo, paper, smoke\.$"):
        profile.load(name)


def test_an_unknown_key_is_refused(values):
    values["pretrain"]["temprature"] = 20
    assert "'temprature'" in refused(values)


def test_an_unknown_section_is_refused(values):
    values["pretraining"] = {}
    assert "'pretraining'" in refused(values)


def test_a_missing_key_is_refused(values):
    del values["views"]["sigma"]
    message = refused(values)
    assert "'sigma'" in message and "[views]" in message


def test_a_missing_section_is_refused(values):
    del values["finetune"]
    assert "'finetune'" in refused(values)


@pytest.mark.parametrize(
    "section, key, wrong",
    [
        ("data", "image_size", 64.0),
        ("data", "image_size", "64"),
        ("data", "image_size", True),
        ("data", "split", 1),
        ("data", "split", "random"),
        ("views", "theta_deg", "18"),
        ("views", "blur_sigma", 0.1),
        ("views", "blur_sigma", "wide"),
        ("views", "blur_sigma", [0.1]),
        ("views", "blur_sigma", [0.1, "2"]),
        ("encoder", "fc_block", "norm"),
        ("pretrain", "reduction", "median"),
        ("encoder", "blocks", 3),
        ("encoder", "blocks", ["3", "4"]),
        ("encoder", "blocks", [3.5, 4]),
        ("pretrain", "lr", None),
        ("pretrain", "jit", 1),
        ("pretrain", "batch", [32]),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(values, section, key, wrong):
    values[section][key] = wrong
    message = refused(values)
    assert repr(key) in message and f"[{section}]" in message


@pytest.mark.parametrize("strides, width, channels", [([2, 1], 15, 15), ([1, 2], 3, 12), ([1, 1, 3], 1, 8)])
def test_a_network_that_some_processors_train_wrongly_is_refused(values, strides, width, channels):
    """oneDNN's gradient of a strided 1 x 1 kernel of few channels (its issue 6035) crashed where AVX-512 was."""
    network = {"strides": strides, "blocks": [1] * len(strides), "width": width}
    values["encoder"] |= network
    message = refused(values)
    assert f"by {channels} channels" in message and "'width'" in message
    values["encoder"]["strides"] = [1] * len(strides)
    profile.from_dict("mine", values)
    values["encoder"] |= network | {"width": 16}
    profile.from_dict("mine", values)


def test_a_section_that_is_no_table_is_refused(values):
    values["encoder"] = 50
    assert "encoder" in refused(values)


def test_whole_numbers_stand_for_floats_and_lists_for_tuples(values):
    values["views"]["theta_deg"], values["pretrain"]["w"], values["encoder"]["blocks"] = 18, 0, [1, 2]
    built = profile.from_dict("mine", values)
    assert (built.views.theta_deg, built.pretrain.w, built.encoder.blocks) == (18.0, 0.0, (1, 2))
    assert isinstance(built.views.theta_deg, float) and isinstance(built.pretrain.w, float)


def test_replace_changes_single_values_of_a_copy():
    demo = profile.load("demo")
    changed = demo.replace(pretrain={"w": 0.5, "drop_rate": 0.25}, views={"sigma": 0.2})
    assert (changed.pretrain.w, changed.pretrain.drop_rate, changed.views.sigma) == (0.5, 0.25, 0.2)
    assert demo == profile.load("demo") and demo != changed
    assert changed.replace(pretrain={"w": demo.pretrain.w, "drop_rate": 0.0}, views={"sigma": 0.1}) == demo
    assert changed.encoder is demo.encoder and changed.name == "demo"


@pytest.mark.parametrize("sections, error", [({"pretrain": {"no": 1}}, TypeError), ({"no": {"w": 1}}, AttributeError)])
def test_replace_knows_its_keys(sections, error):
    with pytest.raises(error):
        profile.load("demo").replace(**sections)


def test_profiles_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.load("demo").pretrain.w = 0.0
