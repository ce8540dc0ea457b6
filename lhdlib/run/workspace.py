"""The folders of a run, who made its results, and with what: every notebook starts by opening its workspace."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lhdlib import profile as profiles
from lhdlib.errors import UserError
from lhdlib.files import read_json

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from lhdlib.figures.publish import Shown

ROOT = Path(__file__).resolve().parents[2]
PHANTOMS = "LHDLIB_PHANTOM"  # environment variable: the folder of phantoms, if not data/ of the checkout
PACKAGES = ("tensorflow", "keras", "numpy", "pydicom", "scikit-learn", "matplotlib", "papermill")


@dataclass(frozen=True)
class Workspace:
    """Folders and settings of one run, and what was published since it was opened."""

    profile: profiles.Profile
    data_dir: Path  #: archive in the layout of doi:10.17632/k57fr854j2 (the phantom's when none is given)
    seed: int
    results: Path
    figures: Path
    opened: float = field(default_factory=time.time, compare=False)
    published: list[Path] = field(default_factory=list, compare=False)

    def part(self, name: str) -> Path:
        """Folder of one notebook's results, e.g. ``part("03")``; made when absent."""
        folder = self.results / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def stamp(self) -> dict[str, Any]:
        """Origin that a figure carries inside: commit, versions, seed, profile and the data's label and fingerprint."""
        dataset = read_json(self.results / "01" / "dataset.json")
        return {
            "project": "lhdlib companion to doi:10.1007/s40747-023-00981-0",
            "commit": git_commit(),
            "profile": self.profile.name,
            "seed": self.seed,
            "data": dataset["data_label"],
            "fingerprint": dataset["fingerprint"],
            **versions(),
        }

    def figure(self, name: str, fig: Figure, caption: str, *, details: str = "") -> Shown:
        """Save a figure with the run's stamp (`publish.save_figure`); as the last line of a cell it is shown."""
        from lhdlib.figures import publish  # Matplotlib takes a second, which only drawing needs

        self.published.append(publish.save_figure(fig, name, self.figures, self.stamp(), caption, details=details))
        return publish.Shown(self.published[-1])

    def table(self, name: str, table: pd.DataFrame, caption: str, *, details: str = "") -> Shown:
        """Save a table with the run's stamp (`publish.save_table`); as the last line of a cell it is shown."""
        from lhdlib.figures import publish

        self.published.append(publish.save_table(table, name, self.figures, self.stamp(), caption, details=details))
        return publish.Shown(self.published[-1])

    def close(self, *others: str | Path) -> None:
        """Check that all figures and tables, and `others`, are there, not empty, and newer than the workspace.

        Parameters
        ----------
        others : str or Path
            Further results, relative to the results' folder, e.g. ``"04/headline.json"``.

        Raises
        ------
        AssertionError
            Naming the first that is not.
        """
        for path in (*self.published, *(self.results / other for other in others)):
            assert path.is_file() and path.stat().st_size > 0, f"{path} was not written"
            assert path.stat().st_mtime >= self.opened - 2, f"{path} is older than this run"  # 2 s: coarse file times


def open_workspace(
    profile: str, *, data_dir: str = "", seed: int = 0, results: str = "", figures: str = ""
) -> Workspace:
    """Open the folders of a run; empty strings stand for the defaults.

    Raises
    ------
    UserError
        For an unknown profile, or a profile without a phantom and no `data_dir`.
    """
    settings = profiles.load(profile)
    if not data_dir and not settings.data.phantom_patients:
        raise UserError(f"Profile {profile!r} needs the real archive: name its folder with --data DIR.")
    given = None
    if data_dir:
        from lhdlib.data import rsna  # pandas takes a second, which a run on the phantom has no need of here

        given = rsna.image_folder(Path(data_dir).expanduser().resolve())
    phantoms = Path(os.environ.get(PHANTOMS) or ROOT / "data").resolve()
    default_data = phantoms / f"phantom-{settings.data.phantom_patients}-seed{seed}" / "archive"
    return Workspace(
        profile=settings,
        data_dir=given or default_data,
        seed=int(seed),
        results=Path(results).resolve() if results else results_dir(profile),
        figures=Path(figures).resolve() if figures else figures_dir(profile),
    )


def results_dir(profile: str) -> Path:
    """Default folder of a profile's results."""
    return ROOT / "results" / profile


def figures_dir(profile: str) -> Path:
    """Default folder of a profile's figures; a smoke run never overwrites the real ones."""
    return ROOT / "results" / "smoke" / "figures" if profile == "smoke" else ROOT / "figures"


def git_commit() -> str:
    """Commit of the checkout, with ``+changes`` when the working tree differs; ``unknown`` outside git."""
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "lhdlib", "notebooks")
        return _git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    """Answer of git about this checkout alone: no variable names another one, no repository further up counts."""
    here = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    here["GIT_CEILING_DIRECTORIES"] = str(ROOT.parent)
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, env=here, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the results depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}
