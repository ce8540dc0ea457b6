"""A DICOM study read by a finished run: every disc with its probability and heatmap, or the reason it was not read.

No slice is picked by hand. The study goes the way of the dataset; its labels are not known, and nothing of it is kept
in the run's datasets.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from scipy.special import expit

from lhdlib import augment, cache, files, gradcam
from lhdlib import profile as profiles
from lhdlib.data import dataset, discs, resampling, sagittal
from lhdlib.data.dataset import SLICES
from lhdlib.data.marks import slice_marks
from lhdlib.errors import UserError
from lhdlib.figures.words import cells_text
from lhdlib.model import encoder, finetune
from lhdlib.model.kinds import KINDS, Head, load_head
from lhdlib.show import atlas, model_file
from lhdlib.show.disc import Reading
from lhdlib.show.slabs import UsedSlices, find_used
from lhdlib.show.study import FinishedRun, FoundStudy, counted

NOT_READ, TRAINED = "not read", "slices of it trained the classifier"
TRAVELLED = " Whether images of this study trained it is not known: its file names none."
PHANTOM = "phantom"  # in `dataset.data_label` of synthetic images
READINGS = ("1", "2")  # a disc has at most two
COLUMNS = [
    "level",
    "slices",
    "probability",
    "called",
    *(f"{name}_{reading}" for reading in READINGS for name in ("read", "probability", "weights")),
    "remark",
    "flag",
]


@dataclass(frozen=True)
class Model:
    """Encoder and classifier of a finished run.

    Attributes
    ----------
    run : FinishedRun
    extractor : keras.Model
        Slices (m, W, W, 1) -> features and feature maps.
    weights : np.ndarray, shape (3, d)
    bias : float
        The linear classifier of the first seed, as in notebook 07.
    training : frozenset
        ``sop_key`` of the slices that trained the classifier.
    kinds : Head, optional
        Where the run has one.
    """

    run: FinishedRun
    extractor: keras.Model
    weights: np.ndarray
    bias: float
    training: frozenset[str]
    kinds: Head | None = None


@dataclass(frozen=True)
class Study:
    """A study as a run reads it."""

    found: FoundStudy
    reading: Reading  #: cranial to caudal, without labels; a disc of four slices has two
    #: a row per T2 disc (`COLUMNS`, and `KINDS` where the run has their head), cranial to caudal; probabilities are its
    #: readings' mean, and a disc that was not read has a ``flag`` and none
    table: pd.DataFrame
    rejected: pd.Series  #: files set aside for each reason
    trained_on: str  #: the data that trained the model
    warning: str  #: for a reader to know before the first number


def load_model(run: FinishedRun) -> Model:
    """Load encoder and classifier of a finished run, or of a model's file.

    Raises
    ------
    UserError
        When one of its files is missing or damaged.
    """
    if run.arrays is not None:
        network, weights, bias = _rebuilt(run.folder, run.profile, run.arrays)
        kinds = _head(run.folder, run.arrays)
        return Model(run, encoder.extractor(network), weights[0], float(bias[0]), frozenset(), kinds)
    data = dataset.load_dataset(run.folder / "01")
    network, weights, bias = stored_model(run)
    used = data.slices.sop_key[np.unique(data.part("train", run.profile.data.split).rows)]
    kept = load_head(run.folder)
    kinds = kept[0] if kept else None
    return Model(run, encoder.extractor(network), weights[0], float(bias[0]), frozenset(used) - {""}, kinds)


def stored_model(run: FinishedRun) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """The encoder of a finished run, and weights (seeds, 3, d) and biases (seeds,) of its classifiers.

    Raises
    ------
    UserError
        When one of its files is missing or damaged.
    """
    folder, settings = run.folder, run.profile.pretrain
    path = folder / "03" / profiles.setting_key(settings.w, settings.drop_rate) / "encoder.keras"
    network = cache.load_model(path)
    if network is None:
        raise UserError(f"{path} is missing: run ./run_all.sh --from 03 again.")
    path = folder / "04" / "classifier.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return network, stored["weights"], stored["bias"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path} is missing or damaged: run ./run_all.sh --from 04 again.") from error


def _rebuilt(
    path: Path, profile: profiles.Profile, arrays: Mapping[str, np.ndarray]
) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """`stored_model` from a model's file: our own network with the file's numbers."""
    with encoder.computed_in(profile.pretrain.precision):
        network = encoder.build_encoder(profile.data.image_size, profile.encoder, 0.0, 0)
    given = {name: values.shape for name, values in arrays.items() if name.startswith("encoder/")}
    if given != {f"encoder/{weight.path}": tuple(weight.shape) for weight in network.weights}:
        raise UserError(f"{path} is no model of this project (its arrays have other names): have it exported again.")
    for weight in network.weights:
        weight.assign(arrays[f"encoder/{weight.path}"])
    weights, bias = (arrays[name] for name in model_file.HEADS)
    return network, weights, bias


def kind_arrays(head: Head) -> dict[str, np.ndarray]:
    """The first network's head as arrays of a model's file."""
    names = [model_file.kind_names(kind) for kind in KINDS]
    weights = {name: values for (name, _), values in zip(names, head.weights[0], strict=True)}
    return weights | {name: values[None] for (_, name), values in zip(names, head.bias[0], strict=True)}


def _head(path: Path, arrays: Mapping[str, np.ndarray]) -> Head | None:
    """`kind_arrays` read again; None where a model's file has none."""
    given = {name for name in arrays if name.startswith(model_file.KINDS)}
    names = [model_file.kind_names(kind) for kind in KINDS]
    if not given:
        return None
    if given != {name for pair in names for name in pair}:
        raise UserError(f"{path} is no model of this project (its kinds of lesion are others): have it exported again.")
    weights = np.stack([arrays[name] for name, _ in names])
    return Head(weights[None], np.concatenate([arrays[name] for _, name in names])[None])


def read_study(found: FoundStudy, model: Model) -> Study:
    """Read all discs of a study.

    Verdicts of a review are not asked for: they belong to an archive, and this study need not be in one.
    """
    settings, slices = model.run.profile.data, found.slices
    images, failed = _load(found, settings)
    slabs = discs.group_discs(slices[~slices.path.isin(failed.path)])
    slabs = slabs.assign(remark=discs.block_remarks(slabs, slices))
    slabs = slabs[slabs.weighting == "T2"].sort_values("z", ascending=False, ignore_index=True)
    readings = _readings(slabs, settings.four_slices)
    row_of = pd.Series(slices.index, slices.path)
    rows = row_of[[path for paths in readings.paths for path in paths]].to_numpy().reshape(-1, 3)
    explained = _explain(model, images, rows)
    trained = slices.sop_key.isin(model.training).to_numpy()[rows].any(axis=1)
    readings = readings.assign(
        probability=expit(explained.logits),
        weights=list(explained.slice_weight),
        flag=np.where(trained, TRAINED, ""),
        patient=found.patient,
        label=np.nan,
        note="",
    )
    readings[SLICES] = rows
    kinds = _kinds(model, images, rows)
    if kinds is not None:
        readings[list(KINDS)] = kinds
    table = _table(slabs, readings)
    label = dataset.data_label(slices) if PHANTOM in dataset.data_label(slices) else "one DICOM study"
    reasons = pd.concat([found.rejected.reason, failed.reason]).str.split(":").str[0]
    stamp = {"model trained on" if name == "data" else name: value for name, value in model.run.stamp.items()}
    return Study(
        found=found,
        reading=Reading(
            images,
            _described(readings, table),
            explained.maps,
            explained.classic,
            explained.slice_weight,
            label,
            whose=str(found),
            sagittal=_sagittal(found, slabs, list(readings.paths)),
            where=gradcam.cells(model.run.profile, explained.raw.shape[-1]),
            marks=slice_marks(slices, slabs, settings),
            drawn=cells_text(model.run.profile),
            kinds=None if kinds is None else readings[list(KINDS)],
            stamp=found.identity | stamp,
        ),
        table=table,
        rejected=reasons.value_counts(),
        trained_on=model.run.stamp["data"],
        warning=warning(model.run.stamp["data"], label) + TRAVELLED * (model.run.arrays is not None),
    )


def warning(trained_on: str, study: str) -> str:
    """One or two sentences on how the model's training data and the study's data agree."""
    said = f"Model trained on: {trained_on}."
    if (PHANTOM in trained_on) == (PHANTOM in study):
        return said
    mismatch = (
        "real and the model has seen only the phantom"
        if PHANTOM in trained_on
        else "a phantom and the model has seen only patients"
    )
    return f"{said} This study is {mismatch}: do not interpret its probabilities."


def _load(found: FoundStudy, settings: profiles.Data) -> tuple[np.ndarray, pd.DataFrame]:
    """The study's slice store, float16 as the dataset's, and which slices could not be read."""
    slices = found.slices
    images, failed = np.zeros((len(slices), settings.image_size, settings.image_size), np.float16), []
    for row, one in enumerate(slices.itertuples()):
        image = resampling.load_slice((found.root / one.path, (one.row_spacing, one.column_spacing), settings))
        if isinstance(image, str):
            failed.append((one.path, image))
        else:
            images[row] = image
    return images, pd.DataFrame(failed, columns=["path", "reason"])


def _readings(slabs: pd.DataFrame, four_slices: str) -> pd.DataFrame:
    """Every sample of every disc: ``disc`` (row of `slabs`), ``level, paths`` and ``read``, the slices' numbers."""
    readings = []
    for disc in slabs.index:
        paths = slabs.paths[disc]
        for sample in discs.disc_samples(slabs.loc[[disc]], four_slices=four_slices).itertuples():
            first = paths.index(sample.paths[0]) + 1
            readings.append((disc, sample.level, sample.paths, f"{first}-{first + 2}"))
    return pd.DataFrame(readings, columns=["disc", "level", "paths", "read"])


def _table(slabs: pd.DataFrame, readings: pd.DataFrame) -> pd.DataFrame:
    """`Study.table`: a row for each disc, whether it was read or not."""
    rows: list[dict[str, Any]] = []
    named = [kind for kind in KINDS if kind in readings]
    for disc, slab in slabs.iterrows():
        own = readings[readings.disc == disc]
        row = {"level": slab.level, "slices": slab.slices, "called": NOT_READ, "remark": slab.remark}
        row["flag"] = "; ".join([*discs.set_aside(slabs.loc[[disc]]).reason, *own.flag[own.flag != ""].unique()])
        if len(own):
            row["probability"] = own.probability.mean()
            row["called"] = "abnormal" if row["probability"] >= Reading.threshold else "normal"
        if len(own) == 1:
            row["remark"] = discs.sample_remark(slab.slices)
        if len(own) > 1:
            row["remark"] = (
                f"{slab.slices} slices have no middle one: read as {' and as '.join(own.read)}, the mean counts"
            )
        row |= {kind: own[kind].mean() for kind in named if len(own)}
        for reading, one in zip(READINGS, own.itertuples(), strict=False):
            row |= {f"read_{reading}": one.read, f"probability_{reading}": one.probability}
            row[f"weights_{reading}"] = " ".join(f"{weight:.0%}" for weight in one.weights)
        rows.append(row)
    table = pd.DataFrame(rows, columns=COLUMNS + named)
    numbers = [*named, "probability", *(f"probability_{reading}" for reading in READINGS)]
    words = [column for column in COLUMNS if column not in numbers]
    types = dict.fromkeys(numbers, float) | dict.fromkeys(words, object)  # a column without a word would be of numbers
    return table.astype(types).fillna(dict.fromkeys(words, ""))


def _described(readings: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """`Reading.discs`: each reading with the words about its slices."""
    words = []
    for one in readings.itertuples():
        disc = table.loc[one.disc]
        said = f"Slices {one.read} of {disc.slices}, cranial to caudal."
        if disc.read_2:
            said += f" {disc.remark} ({disc.probability:.3f})."
        words.append(said)
    return readings.drop(columns=["weights", "paths"]).assign(read=words)


def _explain(model: Model, images: np.ndarray, rows: np.ndarray) -> gradcam.Explained:
    """`gradcam.explain` of slices as the run's test slices were shown to the network; it needs a disc."""
    if not len(rows):
        return gradcam.Explained(*(np.zeros(shape) for shape in ((0, 3, 1, 1), (0, 3, 1, 1), (0, 3, 1), 0)))
    seen = augment.seen(images, model.run.profile.finetune.test_crop)
    return gradcam.explain(model.extractor, seen, rows, model.weights, model.bias)


def _kinds(model: Model, images: np.ndarray, rows: np.ndarray) -> np.ndarray | None:
    """Probability of each of `KINDS` for each reading, shape (n, kinds); None where the run has no head."""
    if model.kinds is None:
        return None
    if not len(rows):
        return np.zeros((0, len(KINDS)))
    seen = augment.seen(images, model.run.profile.finetune.test_crop)
    return expit(model.kinds.logits(finetune.extract(model.extractor, seen, rows))[0])


def _sagittal(found: FoundStudy, slabs: pd.DataFrame, used: Sequence[Sequence[str]]) -> Callable[[int], UsedSlices]:
    """`Reading.sagittal` of a study; `used` are the paths of each reading's slices."""
    root = found.root
    inside = lambda path: f"{root.name}/{path}"  # noqa: E731  `root` may be the study's own, which paths must name
    named = [table.assign(path=table.path.map(inside)) for table in (found.slices, found.rejected)]
    slabs = slabs.assign(paths=slabs.paths.map(lambda paths: tuple(map(inside, paths))))

    @lru_cache(1)
    def view() -> sagittal.SagittalView:
        return sagittal.sagittal_view(root.parent, slabs, *named)

    return lambda row: find_used(slabs, view(), [*map(inside, used[row])])


# What is written


def shown_table(study: Study) -> pd.DataFrame:
    """`Study.table` in words, for the terminal and the page."""
    table = study.table
    shown = {"level": table.level, "slices": table.slices, "probability": table.probability.map(_number)}
    both = (table.read_2 != "").any()
    for reading in READINGS if both else READINGS[:1]:
        read = table[f"read_{reading}"]
        if both:
            read = read + ": " + table[f"probability_{reading}"].map(_number)
        shown[f"reading {reading}" if both else "read"] = read.where(table[f"read_{reading}"] != "", "")
        shown[f"weights {reading}" if both else "slice weights"] = table[f"weights_{reading}"]
    kinds = {kind: table[kind].map(_number) for kind in KINDS if kind in table}
    return pd.DataFrame(shown | {"called": table.called} | kinds | {"remark": table.remark, "flag": table.flag})


def _number(probability: float) -> str:
    return "" if np.isnan(probability) else f"{probability:.3f}"


def set_aside_line(study: Study) -> str:
    """One sentence about the files that are no axial T1 or T2 slice."""
    if study.rejected.empty:
        return "No file was set aside."
    counts = ", ".join(counted(reason, count) for reason, count in study.rejected.items())
    return f"{study.rejected.sum()} files were set aside: {counts}."


def summary(study: Study) -> str:
    """All discs of a study, whose it is, and what was set aside, for the terminal."""
    table = shown_table(study).to_string(index=False)
    return f"\n{study.warning}\n{atlas.NOT_CLINICAL}\n\n{study.found}\n{table}\n\n{set_aside_line(study)}"


def details(study: Study) -> str:
    """All discs of a study, whose it is, and what was set aside, as HTML."""
    table = shown_table(study).to_html(index=False, border=0)  # escapes
    return (
        f"<h2>All discs of the study</h2><p>{html.escape(str(study.found))}.</p><div class='wide'>{table}</div>"
        f"<p>{html.escape(set_aside_line(study))}</p>"
    )


def save_study(study: Study, folder: str | Path) -> tuple[Path, Path]:
    """Write ``study.html`` (`atlas.write_atlas`) and ``study.csv`` (`Study.table`, with whose it is).

    Raises
    ------
    UserError
        When the folder cannot be written to, or the disk is full.
    """
    folder = Path(folder)
    page, path = folder / "study.html", folder / "study.csv"
    whose = {name.replace(" ", "_"): value for name, value in study.found.identity.items()}
    try:
        atlas.write_atlas(
            study.reading,
            page,
            study.reading.stamp,
            title=f"Heatmaps of one study: {study.found.folder}",
            warning=study.warning,
            details=details(study),
        )
        table = study.table.assign(**whose, trained_on=study.trained_on)
        files.write_table(path, table[[*whose, *study.table.columns, "trained_on"]])
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: name another folder with --out DIR.") from error
    return page, path
