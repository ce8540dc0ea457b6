"""Saving a notebook that was run leaves the file as it was."""

import copy
import runpy
from types import SimpleNamespace

import nbformat
import pytest

from lhdlib.run import lab, stale


def ran(notebook):
    """The notebook as JupyterLab holds it after a run."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata["language_info"] = {"name": "python", "version": "3.12.1", "file_extension": ".py"}
    notebook.metadata["widgets"] = {"state": {}}
    for number, cell in enumerate(notebook.cells):
        cell.metadata["execution"] = {"iopub.status.busy": "now"}
        if cell.cell_type == "code":
            cell.execution_count = number
            cell.outputs = [nbformat.v4.new_output("stream", text="out")]
    return notebook


@pytest.mark.parametrize("path", sorted(stale.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_saved_notebook_is_the_one_of_the_checkout(path):
    source = nbformat.read(path, as_version=4)
    model = {"type": "notebook", "content": ran(source)}
    lab.without_outputs(model, f"notebooks/{path.name}")
    assert nbformat.writes(model["content"]).rstrip() == path.read_text(encoding="utf-8").rstrip()


@pytest.mark.parametrize(("kind", "path"), [("notebook", "mine/x.ipynb"), ("file", "notebooks/x.ipynb")])
def test_what_is_not_of_the_checkout_is_saved_as_it_is(kind, path):
    notebook = ran(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]))
    model = {"type": kind, "content": copy.deepcopy(notebook)}
    lab.without_outputs(model, path)
    assert model["content"] == notebook


def test_an_environment_gets_the_setting_that_names_the_hook(tmp_path):
    lab.install(tmp_path)
    config = SimpleNamespace(FileContentsManager=SimpleNamespace())
    runpy.run_path(str(tmp_path / lab.SETTINGS), {"get_config": lambda: config})
    assert config.FileContentsManager.pre_save_hook is lab.without_outputs
