"""A profile fixes sizes, steps and optimisation values of a run; it never changes the method."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from lhdlib.errors import UserError

#: Of fewer channels oneDNN writes the gradient of a strided 1 x 1 kernel past its memory
#: (https://github.com/uxlfoundation/oneDNN/issues/6035).
STRIDED_CHANNELS = 16
FOLDER = Path(__file__).with_name("profiles")


@dataclass(frozen=True)
class Data:
    """Where slices come from and how the two datasets are cut (section "Construction of the dataset")."""

    phantom_patients: int  #: patients of the phantom; 0: the profile runs on an archive given with --data
    image_size: int  #: W = H, pixels
    field_of_view_mm: float  #: side of the central square kept; 0: all of the slice
    pretrain_validation: int  #: slices held out from pre-training
    test_per_class: int
    validation_per_class: int
    split: Literal["paper", "patient"]  #: samples at random, or no patient on both sides
    scaling: Literal["percentile", "maximum", "standard"]  #: 99.5th percentile or maximum to 1, or mean 0 and sd 1
    four_slices: Literal["both", "upper"]  #: samples of a disc with four slices: 1-3 and 2-4, or 1-3 only
    duplicates: Literal["removed", "kept"]  #: images stored twice


@dataclass(frozen=True)
class Views:
    """The random transformation of the pre-training stage (constraints (1)-(6), Eq. 9-15)."""

    theta_deg: float  #: rotation angles are uniform in [-theta, theta]
    p_crop: float  #: smallest share of the image that a crop may cover
    sigma: float  #: standard deviation of the operation centre, share of the width (Eq. 9)
    blur_sigma: tuple[float, float]  #: range of the blur's sigma, pixels


@dataclass(frozen=True)
class Encoder:
    """ResNet size and feature dimension."""

    blocks: tuple[int, ...]  #: bottleneck blocks per stage
    strides: tuple[int, ...]  #: of each stage's first block; ResNet-50 has 1, 2, 2, 2
    width: int  #: base width: channels of the stem and of the first stage's 3x3 convolutions
    dim: int  #: width d of the fully connected blocks
    fc_block: Literal["dense-norm-relu", "dense-relu-norm"]  #: order within a fully connected block


@dataclass(frozen=True)
class Pretrain:
    """Unsupervised pre-training (Table 1)."""

    #: What is minimised: the paper's Eq. 5 and 6, or, not in the paper, another of `lhdlib.model.losses`
    objective: Literal["inner-product", "nt-xent", "vicreg", "barlow-twins", "supcon"]
    lr: float
    batch: int  #: n images, 2n views
    w: float  #: L2 coefficient
    temperature: float
    drop_rate: float
    decay: Literal["none", "cosine"]  #: of the learning rate: constant, or half a cosine that ends with `max_epochs`
    reduction: Literal["sum", "mean"]  #: of Eq. 6 over the 2n rows
    steps_per_epoch: int  #: optimisation steps between two validation checks; 0: one pass over the data
    max_epochs: int
    patience: int  #: epochs without a better validation accuracy before training ends
    same_patient_negatives: bool  #: False masks other slices of the same patient out of Eq. 5's denominator
    jit: bool  #: compile the training step with XLA (accelerators)
    precision: Literal["float32", "mixed_bfloat16"]  #: of the training step's feature maps; all else is float32


@dataclass(frozen=True)
class Objectives:
    """Values of the objectives that pre-training may have in the place of Eq. 5: not in the paper."""

    nt_xent_temperature: float
    supcon_temperature: float
    vicreg_weights: tuple[float, float, float]  #: of invariance, variance and covariance
    barlow_twins_weight: float  #: of the correlations of different coordinates


@dataclass(frozen=True)
class Finetune:
    """Supervised fine-tuning of one linear classifier (Table 2)."""

    lr: float
    batch: int
    w: float
    epochs: int
    test_crop: Literal["whole", "central"]  #: validation and test slices: as they are, or the mean of the random crops
    draws: int  #: random crops of each sample whose features are computed once and cycled through by the epochs
    encoders: int  #: pre-trainings of the chosen regularisation, each with another seed; a classifier on each
    seeds: int  #: classifiers on one encoder, each with another seed


@dataclass(frozen=True)
class Heatmaps:
    """How maps are drawn on slices (Fig. 10)."""

    cells: Literal["published", "aligned"]  #: an enlarged picture, or each cell where it looks


@dataclass(frozen=True)
class Supervised:
    """The fully supervised ResNet baseline of Fig. 9."""

    lr: float
    batch: int
    epochs: int


@dataclass(frozen=True)
class Tuned:
    """Networks trained whole on equal labels, pre-trained or from scratch: not in the paper."""

    batch: int
    lr: float  #: of the pre-trained network at first; half a cosine takes it to 0
    steps: int  #: optimisation steps, however few the labels
    scratch_lr: float  #: of the network from scratch, alike
    scratch_steps: int


@dataclass(frozen=True)
class Beyond:
    """The questions of notebook 09: not in the paper."""

    labels: tuple[int, ...]  #: numbers of training labels; then all
    wrong: tuple[float, ...]  #: shares of them that are turned
    sparse: int  #: the networks of objectives other than the paper's are tuned on every so many-th of both
    draws: int  #: of the labels; draw k goes with pre-training k, those of the objectives taking turns
    pretrainings: int  #: of each objective, each with another seed


@dataclass(frozen=True)
class Autoencoder:
    """The small autoencoder of Fig. 1."""

    lr: float
    batch: int
    steps: int


@dataclass(frozen=True)
class Profile:
    """All settings of a run; `name` is the file's."""

    name: str
    data: Data
    views: Views
    encoder: Encoder
    pretrain: Pretrain
    objectives: Objectives
    finetune: Finetune
    heatmaps: Heatmaps
    supervised: Supervised
    tuned: Tuned
    beyond: Beyond
    autoencoder: Autoencoder

    def replace(self, **sections: Mapping[str, Any]) -> "Profile":
        """Copy with single values changed, e.g. ``profile.replace(pretrain={"w": 0.0})``."""
        changed = {name: dataclasses.replace(getattr(self, name), **values) for name, values in sections.items()}
        return dataclasses.replace(self, **changed)


def setting_key(w: float, drop_rate: float) -> str:
    """Name of a regularisation setting (w, dr) in files and folders."""
    return f"w{w:g}_dr{drop_rate:g}"


def names() -> list[str]:
    """Names of the profiles that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Profile:
    """Read a profile by name.

    Raises
    ------
    UserError
        For an unknown name, an unknown or missing key, or a value of the wrong type.
    """
    path = FOLDER / f"{name}.toml"
    if name not in names():
        raise UserError(f"There is no profile {name!r}: choose one of {', '.join(names())}.")
    return from_dict(name, tomllib.loads(path.read_text(encoding="utf-8")))


def from_dict(name: str, values: dict[str, Any]) -> Profile:
    """Build a profile from nested dictionaries; see `load` for what is refused."""
    sections: dict[str, Any] = {f.name: f.type for f in dataclasses.fields(Profile) if f.name != "name"}
    _same_keys(f"profile {name!r}", set(sections), set(values))
    built = {}
    for section, kind in sections.items():
        fields = {f.name: f.type for f in dataclasses.fields(kind)}
        if not isinstance(values[section], dict):
            raise UserError(f"{section!r} of profile {name!r} must be a section [{section}], not {values[section]!r}.")
        _same_keys(f"section [{section}] of profile {name!r}", set(fields), set(values[section]))
        where = f"[{section}] of profile {name!r}"
        built[section] = kind(**{key: _typed(where, key, fields[key], v) for key, v in values[section].items()})
    encoder = built["encoder"]
    if len(encoder.blocks) != len(encoder.strides):
        raise UserError(
            f"'blocks' and 'strides' in [encoder] of profile {name!r} must be equally long, one number for each stage, "
            f"not {list(encoder.blocks)} and {list(encoder.strides)}."
        )
    enters = [encoder.width, *(4 * encoder.width * 2**stage for stage in range(len(encoder.strides) - 1))]
    narrow = [channels for channels, stride in zip(enters, encoder.strides, strict=True) if stride > 1]
    if min(narrow, default=STRIDED_CHANNELS) < STRIDED_CHANNELS:
        raise UserError(
            f"A stage with a stride in [encoder] of profile {name!r} is entered by {min(narrow)} channels: below "
            f"{STRIDED_CHANNELS}, some processors train it wrongly or crash; take a larger 'width', or stride 1 there."
        )
    return Profile(name=name, **built)


def _same_keys(where: str, known: set[str], given: set[str]) -> None:
    if given - known:
        raise UserError(f"Unknown key {sorted(given - known)[0]!r} in {where}: known are {', '.join(sorted(known))}.")
    if known - given:
        raise UserError(f"Key {sorted(known - given)[0]!r} is missing in {where}: add it.")


def _typed(where: str, key: str, kind: Any, value: Any) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise UserError(f"{key!r} in {where} must be one of {', '.join(map(repr, get_args(kind)))}, not {value!r}.")
        return value
    if get_origin(kind) is not tuple:
        if type(value) is not kind:
            raise UserError(f"{key!r} in {where} must be {kind.__name__}, not {value!r}.")
        return value
    kinds = get_args(kind)
    if isinstance(value, list) and kinds[-1] is ...:
        kinds = kinds[:1] * len(value)
    if not isinstance(value, list) or len(value) != len(kinds):
        raise UserError(f"{key!r} in {where} must be a list like {kind}, not {value!r}.")
    return tuple(_typed(where, key, k, v) for k, v in zip(kinds, value, strict=True))
