"""The gallery: one page that shows every figure and table of a run, in the notebooks' order, below the paper's claims.

Every number on it is read from a result file or from `paper`. ``stamp.json`` in the results is what
`workspace.Workspace.stamp` returns, and ``parts``: number of the notebook -> ``seconds``, ``commit``.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lhdlib import files, paper
from lhdlib.figures import claims, publish, tables

NAME = "README.md"
WARNING = (
    "> **Warning: synthetic data.** Everything below was obtained on a computed phantom. It is **no evidence about "
    "patients**, and its numbers say nothing about the paper's."
)
#: The paper's figures, by the name of the function that draws each and of the files it is saved in.
FIGURES = (
    "fig01_autoencoder",
    "fig02_contrastive",
    "fig03_gradcam",
    "fig04_structure",
    "fig05_pretraining",
    "fig07_finetuning",
    "fig08_roc",
    "fig09_labels",
    "fig10_heatmaps",
)
SHOWN_FIRST, THUMBNAIL = FIGURES[-3:], 220  # pixels high
LONG = 9  # rows of a table, above which it is folded
#: What the figures and tables show, in words; others have the words of their own names.
TITLES = {
    "fig01_autoencoder": "Figure 1. An autoencoder",
    "fig02_contrastive": "Figure 2. Views of two slices",
    "fig03_gradcam": "Figure 3. Steps of classic Grad-CAM",
    "fig04_structure": "Figures 4 and 6. Overall structure, and the fully connected blocks",
    "fig05_pretraining": "Figure 5. One step of pre-training",
    "fig07_finetuning": "Figure 7. One disc on its way to a probability",
    "fig08_roc": "Figure 8. ROC curves",
    "fig09_labels": "Figure 9. Effect of the number of labels",
    "fig10_heatmaps": "Figure 10. Heatmaps of three discs",
    "table1_pretraining": "Table 1. Settings of pre-training",
    "table2_finetuning": "Table 2. Settings of fine-tuning",
    "table3_regularization": "Table 3. Regularisation levels",
    "counts": "Counts beside the paper's",
    "phantom_calibration": "The phantom's facts beside the archive's",
    "dataset_flow": "From files to samples",
    "dataset_steps": "From files to samples, in numbers",
    "dataset_prevalence": "How often a level is abnormal",
    "dataset_acquisition": "How the slices were acquired",
    "dataset_sizes": "Sizes of the stored slices",
    "label_agreement": "How sure the labels are: a second reading",
    "dataset_facts": "The dataset in a few lines",
    "first_look": "Six slices and a note",
    "samples": "Samples of six discs",
    "pretraining_curves": "Pre-training, step by step",
    "headline": "The main result",
    "regularization_paired": "Regularisation levels, same discs",
    "labels_values": "Numbers of labels, in numbers",
    "labels_paired": "Numbers of labels, same discs",
    "labels_same": "Three classifiers with the same labels",
    "labels_same_values": "Three classifiers with the same labels, in numbers",
    "intervals": "How sure the numbers are",
    "roc_band": "ROC curve with its band",
    "controls": "Controls on the same discs",
    "calibration": "Is a probability of 0.8 right eight times in ten?",
    "operating_points": "Operating points",
    "ceiling": "How far a classifier could get",
    "controls_auc": "AUC of the controls",
    "levels": "What the level alone tells",
    "leakage": "What test and training discs share",
    "splits": "Split by sample and by patient",
    "localisation": "Heatmaps against lesions",
    "localisation_spread": "Heatmaps of each pre-training against lesions",
    "heat_and_lesions": "Where heat and lesions lie",
    "faithfulness": "Deletion, insertion and sanity checks",
    "certificate": "What the heatmaps are made of",
    "heatmap_findings": "What all heatmaps share",
    "cell_places": "Where the paper's network looks",
    "tissue_heat": "Heat in each tissue",
    "methods": "Methods of pre-training",
    "label_map": "When pre-training pays",
    "label_map_values": "When pre-training pays, in numbers",
    "kinds": "Which lesion?",
    "kinds_values": "Which lesion, in numbers",
}


def title(name: str) -> str:
    """Heading of a figure or table, in words."""
    return TITLES.get(name, name.replace("_", " ").capitalize())


def write_gallery(results_dir: Path, figures_dir: Path, drawn: Mapping[str, Sequence[str]]) -> Path:
    """Write the page, ``README.md``, into the figures' folder; what has not been drawn yet is listed as missing.

    Parameters
    ----------
    results_dir : Path
        With ``stamp.json``.
    figures_dir : Path
        With what `publish.save_figure` and `publish.save_table` have written.
    drawn : mapping of a notebook's title -> names of the figures and tables that it has drawn in this run, in order

    Raises
    ------
    UserError
        When a file that exists cannot be read, or there is no ``stamp.json``.
    """
    stamp = files.read_json(results_dir / "stamp.json")
    found = [files.read_json(path) for path in sorted(figures_dir.glob("*.json"))]
    entries = {entry["name"]: entry for entry in found}
    sections = {head: [name for name in names if name in entries] for head, names in drawn.items()}
    sections = {head: names for head, names in sections.items() if names}
    known = {name for names in sections.values() for name in names}
    if left := sorted(set(entries) - known - {claims.NAME}):
        sections["Drawn by another run"] = left
    missing = [title(name) for name in (*FIGURES, *tables.TABLES) if name not in entries]
    parts = [
        "# Figures and tables of this run",
        f"**Data: {stamp['data']}.** Research software; not for clinical use.",
        *([WARNING] if "phantom" in stamp["data"].lower() else []),
        *_thumbnails(entries, figures_dir),
        *_claims(entries, figures_dir),
        *([f"Not drawn yet: {', '.join(missing)}."] if missing else []),
        "## Contents",
        "\n".join(f"- {head}: {' · '.join(_link(name) for name in names)}" for head, names in sections.items()),
    ]
    for head, names in sections.items():
        parts += [f"## {head}", *(_entry(entries[name], figures_dir, stamp) for name in names)]
    parts += ["## How it was obtained", f"Companion to {paper.CITATION}", _stamp(stamp)]
    page = figures_dir / NAME
    with publish.keeping(page):
        files.write_text(page, "\n\n".join(parts) + "\n")
    return page


def _claims(entries: Mapping[str, Any], folder: Path) -> list[str]:
    """The verdicts in three columns, and the numbers behind a fold."""
    if claims.NAME not in entries:
        return []
    whole = (folder / f"{claims.NAME}.md").read_text(encoding="utf-8").rstrip()
    short = publish.markdown(claims.columns(files.read_table(folder / f"{claims.NAME}.csv"))).rstrip()
    return ["## What holds on this data", short, publish.folded("The numbers behind it", whole)]


def _thumbnails(entries: Mapping[str, Any], folder: Path) -> list[str]:
    """The figures that show the result, small, side by side."""
    names = [name for name in SHOWN_FIRST if name in entries]
    cells = [_thumbnail(folder / f"{name}.png", name) for name in names]
    return ["\n".join(cells)] if cells else []


def _thumbnail(path: Path, name: str) -> str:
    small = re.sub(r'width="\d+"', f'height="{THUMBNAIL}"', publish.picture(path))
    return f'<a href="{_place(name)}">{small}</a>'


def _place(name: str) -> str:
    """Where a heading is on the page, as GitHub names it."""
    return "#" + re.sub(r"[^\w\- ]", "", title(name).lower()).replace(" ", "-")


def _link(name: str) -> str:
    return f"[{title(name)}]({_place(name)})"


def _entry(entry: Mapping[str, Any], folder: Path, stamp: Mapping[str, Any]) -> str:
    name, own = entry["name"], entry["stamp"]
    parts = [f"### {title(name)}"]
    other = "; ".join(f"{key}: {own.get(key)}" for key in publish.CONTENT if own.get(key) != stamp.get(key))
    if other:
        parts.append(f"> **Drawn by another run** ({other}): its numbers need not agree with the others on this page.")
    if entry["kind"] == "figure":
        parts += [publish.picture(folder / f"{name}.png"), publish.captioned(entry, link=f"([PDF]({name}.pdf))")]
        return "\n\n".join(parts)
    text = (folder / f"{name}.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|.*\|$", text, re.M)
    table = "\n".join(rows)
    parts.append(publish.captioned(entry, link=f"([CSV]({name}.csv))"))
    parts.append(publish.folded(f"{len(rows) - 2} rows", table) if len(rows) - 2 > LONG else table)
    return "\n\n".join(parts)


def _stamp(stamp: Mapping[str, Any]) -> str:
    rows = [(key, value) for key, value in stamp.items() if key != "parts"]
    parts = stamp.get("parts", {})
    rows += [(f"duration of {n}", f"{_duration(p['seconds'])}, commit {p['commit']}") for n, p in parts.items()]
    if parts:
        rows.append(("duration in all", _duration(sum(part["seconds"] for part in parts.values()))))
    return publish.markdown(pd.DataFrame(rows, columns=["what", "value"])).rstrip()


def _duration(seconds: float) -> str:
    return "{} min {} s".format(*divmod(round(seconds), 60))
