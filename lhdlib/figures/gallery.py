"""The gallery: one page that shows every figure and table of a run beside the paper's numbers.

Every number on it is read from a result file or from `paper`. Result files, all JSON:

``stamp.json``
    What `workspace.Workspace.stamp` returns, and ``parts``: number of the notebook -> ``seconds``, ``commit``.
``04/headline.json``
    ``metrics``: "ACC", "TPR", "TNR", "AUC" -> mean, sd, low, high (`evaluate.over_seeds`); ``per_seed``: the same names
    -> a value per seed. Every part may be absent.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lhdlib import files, paper
from lhdlib.figures import publish, tables, words

WARNING = (
    "> **Warning: synthetic data.** Everything below was obtained on a computed phantom. It shows that the method "
    "runs from end to end; it is **no evidence about patients**, and its numbers say nothing about the paper's."
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
CLAIMS = ("claims",)  # of `claims.save_claims`


def write_gallery(results_dir: Path, figures_dir: Path) -> Path:
    """Write the page, ``README.md``, into the figures' folder; what has not been drawn yet is listed as missing.

    Parameters
    ----------
    results_dir : Path
        With ``stamp.json`` and, once notebook 04 has run, ``04/headline.json``.
    figures_dir : Path
        With what `publish.save_figure` and `publish.save_table` have written.

    Raises
    ------
    UserError
        When a file that exists cannot be read, or there is no ``stamp.json``.
    """
    stamp = files.read_json(results_dir / "stamp.json")
    found = [files.read_json(path) for path in sorted(figures_dir.glob("*.json"))]
    entries = {entry["name"]: entry for entry in found}
    wanted = [*FIGURES, *tables.TABLES]
    missing = [name for name in wanted if name not in entries]
    parts = [
        "# Figures and tables of this run",
        f"Companion to {paper.CITATION}",
        f"**Data: {stamp['data']}**",
        *([WARNING] if "phantom" in stamp["data"].lower() else []),
        "Research software; not for clinical use.",
        "## Headline",
        _headline(results_dir / "04" / "headline.json"),
        *([f"Not drawn yet: {', '.join(missing)}."] if missing else []),
    ]
    for title, names in (
        ("The paper's claims", CLAIMS),
        ("Figures", FIGURES),
        ("Tables", tables.TABLES),
        ("Further figures and tables", sorted(set(entries) - {*wanted, *CLAIMS})),
    ):
        shown = [_entry(entries[name], figures_dir, stamp) for name in names if name in entries]
        parts += [f"## {title}", *shown] if shown else []
    parts += ["## How it was obtained", _stamp(stamp)]
    page = figures_dir / "README.md"
    with files.replacing(page) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


def _headline(path: Path) -> str:
    if not path.is_file():
        return "No result yet: notebook 04 has not run."
    result = files.read_json(path)
    published, metrics = paper.TABLE3[paper.CHOSEN], result.get("metrics", {})
    rows = []
    for metric, name in words.METRICS.items():
        seeds = ", ".join(f"{value:.3f}" for value in result.get("per_seed", {}).get(metric, []))
        rows.append([name, f"{published[metric]:.4f}", words.summary_text(metrics.get(metric)), seeds or "–"])
    columns = ["test metric", "paper", "this run: mean ± sd [95 % interval]", "single seeds"]
    return publish.markdown(pd.DataFrame(rows, columns=columns)).rstrip()


def _entry(entry: Mapping[str, Any], folder: Path, stamp: Mapping[str, Any]) -> str:
    name, own = entry["name"], entry["stamp"]
    parts = [f"### {name}"]
    here = {key: {stamp.get(key)} for key in ("data", "profile", "seed", "fingerprint", "commit")}
    here["commit"] |= {part["commit"] for part in stamp.get("parts", {}).values()}  # what was up to date did not run
    if other := "; ".join(f"{key}: {own.get(key)}" for key, known in here.items() if own.get(key) not in known):
        parts.append(f"> **Drawn by another run** ({other}): its numbers need not agree with the others on this page.")
    if entry["kind"] == "figure":
        parts += [
            publish.picture(folder / f"{name}.png"),
            f"{entry['caption']} ([PDF]({name}.pdf))",
        ]
    else:
        parts += [(folder / f"{name}.md").read_text(encoding="utf-8").rstrip(), f"([CSV]({name}.csv))"]
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
