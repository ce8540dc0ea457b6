"""JupyterLab, started in this checkout: saving a notebook keeps its cells, not what they showed or which kernel ran."""

from lhdlib.run import lab

c = get_config()  # noqa: F821  Jupyter's
c.FileContentsManager.pre_save_hook = lab.without_outputs
