"""JupyterLab beside git: a notebook that was run by hand and saved is still the notebook of the checkout."""

from typing import Any

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
