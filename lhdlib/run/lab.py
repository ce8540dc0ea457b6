"""JupyterLab beside git: a notebook that was run by hand and saved is still the notebook of the checkout."""

import sys
from pathlib import Path
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from jupyter_client.kernelspec import get_kernel_spec
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

#: Where Jupyter looks for settings of an environment.
SETTINGS = Path("etc/jupyter/jupyter_server_config.py")
HOOK = """from lhdlib.run import lab

c = get_config()
c.FileContentsManager.pre_save_hook = lab.without_outputs
c.ServerApp.contents_manager_class = lab.Notebooks
"""

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def without_outputs(model: dict[str, Any], path: str, **_: Any) -> None:
    """Empty a notebook of `notebooks/` of what running it has added, before Jupyter saves it (its ``pre_save_hook``).

    The page in the browser keeps showing it. Other notebooks are saved as they are.
    """
    content = model.get("content")
    if not _of_the_checkout(model, path) or not content:
        return
    content["metadata"] = METADATA
    for cell in content["cells"]:
        tags = cell["metadata"].get("tags")
        cell["metadata"] = {"tags": tags} if tags else {}
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None


def _of_the_checkout(model: dict[str, Any], path: str) -> bool:
    return model.get("type") == "notebook" and path.strip("/").startswith("notebooks/")


class Notebooks(AsyncLargeFileManager):
    """Jupyter's files, but a notebook of `notebooks/` is opened with the names that its kernel will write into it.

    JupyterLab would otherwise take each for changed as soon as its kernel has started, and ask whether to save it.
    """

    async def get(self, path: str, *args: Any, **options: Any) -> dict[str, Any]:
        """What is stored under a path; arguments are Jupyter's."""
        model = await super().get(path, *args, **options)
        if _of_the_checkout(model, path) and model["content"]:
            name = METADATA["kernelspec"]["name"]
            kernel = get_kernel_spec(name)
            spec = {"display_name": kernel.display_name, "language": kernel.language, "name": name}
            model["content"]["metadata"] |= {"kernelspec": spec, "language_info": IPythonKernel.language_info}
        return model


def install(prefix: Path) -> None:
    """Make Jupyter servers of an environment call `without_outputs` and use `Notebooks`."""
    path = prefix / SETTINGS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HOOK, encoding="utf-8")


if __name__ == "__main__":  # by setup_env.sh, in the environment that it has made
    install(Path(sys.prefix))
