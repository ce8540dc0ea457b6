"""JupyterLab beside git: a notebook that was run by hand and saved is still the notebook of the checkout."""

import sys
from pathlib import Path
from typing import Any

#: Where Jupyter looks for settings of an environment.
SETTINGS = Path("etc/jupyter/jupyter_server_config.py")
HOOK = """from lhdlib.run import lab

c = get_config()
c.FileContentsManager.pre_save_hook = lab.without_outputs
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
    if model.get("type") != "notebook" or not path.strip("/").startswith("notebooks/") or not content:
        return
    content["metadata"] = METADATA
    for cell in content["cells"]:
        tags = cell["metadata"].get("tags")
        cell["metadata"] = {"tags": tags} if tags else {}
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None


def install(prefix: Path) -> None:
    """Make Jupyter servers of an environment call `without_outputs`."""
    path = prefix / SETTINGS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HOOK, encoding="utf-8")


if __name__ == "__main__":  # by setup_env.sh, in the environment that it has made
    install(Path(sys.prefix))
