"""Saving a notebook that was run leaves the file as it was."""

import asyncio
import copy
import runpy
import shutil
from types import SimpleNamespace

import nbformat
import pytest
from ipykernel.ipkernel import IPythonKernel
from jupyter_client.kernelspec import get_kernel_spec

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
    config = SimpleNamespace(FileContentsManager=SimpleNamespace(), ServerApp=SimpleNamespace())
    runpy.run_path(str(tmp_path / lab.SETTINGS), {"get_config": lambda: config})
    assert config.FileContentsManager.pre_save_hook is lab.without_outputs
    assert config.ServerApp.contents_manager_class is lab.Notebooks


def test_a_notebook_opens_with_what_its_kernel_says_and_is_saved_without_it(tmp_path):
    source = min(stale.NOTEBOOKS.glob("*.ipynb"))
    for folder in ("notebooks", "mine"):
        (tmp_path / folder).mkdir()
        shutil.copy(source, tmp_path / folder)
    server = lab.Notebooks(root_dir=str(tmp_path), pre_save_hook=lab.without_outputs)
    opened = asyncio.run(server.get(f"notebooks/{source.name}"))
    kernel = IPythonKernel().kernel_info
    assert opened["content"]["metadata"]["language_info"] == kernel["language_info"]
    assert opened["content"]["metadata"]["kernelspec"]["display_name"] == get_kernel_spec("python3").display_name
    asyncio.run(server.save(opened, f"notebooks/{source.name}"))
    assert (tmp_path / "notebooks" / source.name).read_text("utf-8").rstrip() == source.read_text("utf-8").rstrip()
    other = asyncio.run(server.get(f"mine/{source.name}"))
    assert other["content"]["metadata"] == lab.METADATA
    assert asyncio.run(server.get("notebooks"))["type"] == "directory"
    assert asyncio.run(server.get(f"notebooks/{source.name}", content=False))["content"] is None
