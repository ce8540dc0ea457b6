"""A DICOM study read by a finished run: every disc with its probability and heatmap, or the reason it was not read.

No slice is picked by hand: ``lhdlib study DIR --run results/demo``. The study goes the way of the dataset; its labels
are not known, and nothing of it is kept in the run's datasets.
"""

import argparse
import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from PIL import Image
from scipy.special import expit

from lhdlib import cache, files, gradcam
from lhdlib import profile as profiles
from lhdlib.data import dataset, dicom, discs, resampling, sagittal
from lhdlib.data.dataset import SLICES
from lhdlib.errors import UserError
from lhdlib.model import encoder
from lhdlib.run import stale, workspace
from lhdlib.show import atlas
from lhdlib.show.disc import Reading
from lhdlib.show.slabs import draw_used

NEEDED = ("01", "03", "04")  # notebooks whose results are read
NOT_READ, TRAINED = "not read", "slices of it trained the classifier"
PHANTOM = "phantom"  # in `dataset.data_label` of synthetic images
UNNUMBERED = "without a number"
NAMED = 5  # of several studies, in the sentence that refuses them
WEIGHTS = ["weight_1", "weight_2", "weight_3"]
COLUMNS = ["level", "slices", "probability", "called", *WEIGHTS, "flag"]


@dataclass(frozen=True)
class Run:
    """Model of a finished run, for the reading of other studies.

    Attributes
    ----------
    folder : Path
        The run's results.
    profile : Profile
    extractor : keras.Model
        Slices (m, W, W, 1) -> features and feature maps.
    weights : np.ndarray, shape (3, d)
    bias : float
        The linear classifier of the first seed, as in notebook 07.
    stamp : dict
        Of the run; ``data`` names the data that trained it.
    training : frozenset
        SOPInstanceUIDs of the slices that trained the classifier.
    """

    folder: Path
    profile: profiles.Profile
    extractor: keras.Model
    weights: np.ndarray
    bias: float
    stamp: dict[str, Any]
    training: frozenset[str]


@dataclass(frozen=True)
class Study:
    """A study as a run reads it.

    Attributes
    ----------
    reading : Reading
        The discs that were read, cranial to caudal; `Reading.discs.label` is missing throughout.
    table : pd.DataFrame
        All T2 discs, cranial to caudal (`COLUMNS`): those that were not read have a ``flag`` and no probability.
    rejected : pd.Series
        How many files were set aside for each reason.
    trained_on : str
        The data that trained the model.
    warning : str
        What a reader must know before the first number.
    """

    reading: Reading
    table: pd.DataFrame
    rejected: pd.Series
    trained_on: str
    warning: str


def open_run(folder: str | Path) -> Run:
    """Load encoder and classifier of a finished run.

    Parameters
    ----------
    folder : path
        ``results/<profile>``.

    Raises
    ------
    UserError
        When the run has not finished, its files are damaged, or the profile's values have changed since.
    """
    folder = Path(folder)
    if not (folder / "stamp.json").is_file():
        raise UserError(f"{folder} holds no finished run: make one with ./run_all.sh, or name another with --run DIR.")
    try:
        stamp = dict(files.read_json(folder / "stamp.json"))
        profile, _ = profiles.load(stamp["profile"]), stamp["data"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'stamp.json'} is damaged: delete it and run ./run_all.sh again.") from error
    stamp.pop("parts", None)
    for number in NEEDED:
        settings = stale.made_with(folder, number)
        if not settings:
            raise UserError(f"Notebook {number} of the run in {folder} has not finished: run ./run_all.sh first.")
        if settings[stale.PROFILE_VALUES] != cache.content_key(profile):
            raise UserError(f"Profile {profile.name!r} has changed since the run in {folder}: run ./run_all.sh again.")
    data = dataset.load_dataset(folder / "01")
    path = folder / "03" / profiles.setting_key(profile.pretrain.w, profile.pretrain.drop_rate) / "encoder.keras"
    model = cache.load_model(path)
    if model is None:
        raise UserError(f"{path} is missing: run ./run_all.sh --from 03 again.")
    path = folder / "04" / "classifier.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            weights, bias = stored["weights"][0], float(stored["bias"][0])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path} is missing or damaged: run ./run_all.sh --from 04 again.") from error
    used = data.part("train", profile.data.split).rows
    training = frozenset(data.slices.sop_uid[np.unique(used)])
    return Run(folder, profile, encoder.extractor(model), weights, bias, stamp, training)


def read_study(folder: str | Path, run: Run, *, progress: bool = False) -> Study:
    """Read the one study in a folder.

    Verdicts of a review are not asked for: they belong to an archive, and this study need not be in one.

    Parameters
    ----------
    folder : path
        A study, or whatever holds one: a patient, or folders above.
    run : Run
        Of `open_run`.
    progress : bool
        Show a progress bar.

    Raises
    ------
    UserError
        When there is no such folder, no axial T2 slice in it, or more than one study.
    """
    folder, settings = Path(folder).resolve(), run.profile.data
    slices, rejected = dicom.index_tree(folder, progress=progress, duplicates=settings.duplicates)
    slices = _one_study(slices, rejected, folder)
    images, failed = _load(slices, folder, settings)
    found = discs.group_discs(slices[~slices.path.isin(failed.path)])
    found = found[found.weighting == "T2"]
    table, paths = _list_discs(found, settings.four_slices)
    rows = pd.Series(slices.index, slices.path)[paths.explode()].to_numpy().reshape(-1, 3)
    explained = _explain(run, images, rows)
    probability = expit(explained.logits)
    flags = np.where(slices.sop_uid.isin(run.training).to_numpy()[rows].any(axis=1), TRAINED, "")
    called = np.where(probability >= Reading.threshold, "abnormal", "normal")
    for column, values in {"probability": probability, "called": called, "flag": flags}.items():
        table.loc[paths.index, column] = values
    table.loc[paths.index, WEIGHTS] = explained.slice_weight
    read = table.loc[paths.index, ["level", "probability", "flag"]].reset_index(drop=True)
    read[SLICES] = rows
    read = read.assign(patient=slices.patient[0], label=np.nan, note="")
    label = dataset.data_label(slices) if PHANTOM in dataset.data_label(slices) else "one DICOM study"
    reasons = pd.concat([rejected.reason, failed.reason]).str.split(":").str[0]
    return Study(
        reading=Reading(
            images,
            read,
            explained.maps,
            explained.classic,
            explained.slice_weight,
            label,
            sagittal=_sagittal(folder, found, slices, rejected, list(paths)),
            stamp={"model trained on" if name == "data" else name: value for name, value in run.stamp.items()},
        ),
        table=table,
        rejected=reasons.value_counts(),
        trained_on=run.stamp["data"],
        warning=warning(run.stamp["data"], label),
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


def _one_study(slices: pd.DataFrame, rejected: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The slices of the only study with axial T2 slices, the patient named by the archive's number alone."""
    t2 = slices[slices.weighting == "T2"]
    if t2.empty:
        reasons = rejected.reason.str.split(":").str[0].value_counts()
        most = f", most of them {reasons.index[0]!r}" if len(reasons) else ""
        raise UserError(
            f"{folder} holds no axial T2 slice among {len(slices) + len(rejected)} files{most}: name the folder of a "
            "lumbar study."
        )
    studies = t2.groupby("study").path.first().str.rsplit("/", n=2).str[0]
    if len(studies) > 1:
        more = f" and {len(studies) - NAMED} more" * (len(studies) > NAMED)
        names = ", ".join(repr(name) for name in studies[:NAMED])
        raise UserError(f"{folder} holds {len(studies)} studies: name the folder of one of them ({names}{more}).")
    number = dicom.patient_of("/".join([*folder.parts[-2:], t2.path.iloc[0]]))
    patient = number if re.fullmatch(r"\d{4}", number) else UNNUMBERED  # other names may be a person's
    return slices[slices.study == studies.index[0]].assign(patient=patient).reset_index(drop=True)


def _load(slices: pd.DataFrame, folder: Path, settings: profiles.Data) -> tuple[np.ndarray, pd.DataFrame]:
    """The study's slice store, float16 as the dataset's, and which slices could not be read."""
    images, failed = np.zeros((len(slices), settings.image_size, settings.image_size), np.float16), []
    for row, one in enumerate(slices.itertuples()):
        found = resampling.load_slice((folder / one.path, (one.row_spacing, one.column_spacing), settings))
        if isinstance(found, str):
            failed.append((one.path, found))
        else:
            images[row] = found
    return images, pd.DataFrame(failed, columns=["path", "reason"])


def _list_discs(found: pd.DataFrame, four_slices: str) -> tuple[pd.DataFrame, pd.Series]:
    """A row per sample, and one per disc that gives none, cranial to caudal; the three paths of each sample."""
    rows: list[dict[str, Any]] = []
    paths = {}
    for index in found.sort_values("z", ascending=False).index:
        disc = found.loc[[index]]
        for sample in discs.disc_samples(disc, four_slices=four_slices).itertuples():
            first = disc.paths[index].index(sample.paths[0]) + 1
            paths[len(rows)] = sample.paths
            rows.append(
                {
                    "level": sample.level,
                    "slices": f"{first}-{first + 2} of {disc.slices[index]}",
                    "called": "",
                    "flag": "",
                }
            )
        for left in discs.set_aside(disc).itertuples():
            rows.append(
                {"level": left.level, "slices": str(disc.slices[index]), "called": NOT_READ, "flag": left.reason}
            )
    table = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(["probability", *WEIGHTS], float))
    return table, pd.Series(paths, dtype=object)


def _explain(run: Run, images: np.ndarray, rows: np.ndarray) -> gradcam.Explained:
    """`gradcam.explain`, which needs a disc."""
    if not len(rows):
        return gradcam.Explained(*(np.zeros(shape) for shape in ((0, 3, 1, 1), (0, 3, 1, 1), (0, 3, 1), 0)))
    return gradcam.explain(run.extractor, images, rows, run.weights, run.bias)


def _sagittal(
    folder: Path, found: pd.DataFrame, slices: pd.DataFrame, rejected: pd.DataFrame, used: Sequence[Sequence[str]]
) -> Callable[[int], Image.Image]:
    """`Reading.sagittal` of a study in `folder`; `used` are the paths of each row's slices."""
    inside = lambda path: f"{folder.name}/{path}"  # noqa: E731  `folder` may be the study's own, which paths must name
    slabs = found.assign(paths=found.paths.map(lambda paths: tuple(map(inside, paths))))
    named = [table.assign(path=table.path.map(inside)) for table in (slices, rejected)]

    @lru_cache(1)
    def view() -> sagittal.SagittalView:
        return sagittal.sagittal_view(folder.parent, slabs, *named)

    return lambda row: draw_used(slabs, view(), [*map(inside, used[row])])


# What is written


def shown_table(study: Study) -> pd.DataFrame:
    """`Study.table` in words, for the terminal and the page."""
    table = study.table
    weights = table[WEIGHTS].apply(lambda row: "" if row.isna().any() else " ".join(f"{w:.0%}" for w in row), axis=1)
    return pd.DataFrame(
        {
            "level": table.level,
            "slices": table.slices,
            "probability": ["" if np.isnan(p) else f"{p:.3f}" for p in table.probability],
            "called": table.called,
            "slice weights": weights,
            "flag": table.flag,
        }
    )


def set_aside_line(study: Study) -> str:
    """One sentence about the files that are no axial T1 or T2 slice."""
    if study.rejected.empty:
        return "No file was set aside."
    counts = ", ".join(f"{reason} ({count})" for reason, count in study.rejected.items())
    return f"{study.rejected.sum()} files were set aside: {counts}."


def details(study: Study) -> str:
    """All discs of a study and what was set aside, as HTML."""
    table = shown_table(study).to_html(index=False, border=0)  # escapes
    return f"<h2>All discs of the study</h2><div class='wide'>{table}</div><p>{html.escape(set_aside_line(study))}</p>"


def out_folder(run: str | Path, folder: str | Path) -> Path:
    """Where a run keeps what is written about the study in `folder`."""
    return Path(run) / "studies" / Path(folder).resolve().name


def save_study(study: Study, folder: str | Path) -> tuple[Path, Path]:
    """Write ``study.html`` (`atlas.write_atlas`) and ``study.csv`` (`Study.table`, with the model's training data).

    Raises
    ------
    UserError
        When the folder cannot be written to, or the disk is full.
    """
    folder = Path(folder)
    page, table = folder / "study.html", folder / "study.csv"
    try:
        atlas.write_atlas(
            study.reading,
            page,
            study.reading.stamp,
            title="Heatmaps of one study",
            warning=study.warning,
            details=details(study),
        )
        files.write_table(table, study.table.assign(trained_on=study.trained_on))
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: name another folder with --out DIR.") from error
    return page, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``lhdlib study``."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="a DICOM study")
    default = workspace.results_dir("demo")
    parser.add_argument("--run", metavar="DIR", type=Path, default=default, help="of a finished run (results/demo)")
    parser.add_argument("--out", metavar="DIR", type=Path, help="gets page and table; without it, RUN/studies/<DIR>")


def run(args: argparse.Namespace) -> int:
    """Read the study, write page and table, and print the table."""
    study = read_study(args.folder, open_run(args.run), progress=True)
    written = save_study(study, args.out or out_folder(args.run, args.folder))
    print(f"\n{study.warning}\n{atlas.NOT_CLINICAL}\n\n{shown_table(study).to_string(index=False)}\n")
    print("\n".join([set_aside_line(study), *map(str, written)]))
    return 0
