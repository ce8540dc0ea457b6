"""Every figure says where it came from."""

import json
import re
import shutil

import pytest

from lhdlib.errors import UserError
from lhdlib.figures import gallery, tables
from lhdlib.files import read_json
from lhdlib.run import command, provenance


def test_every_figure_and_table_of_a_run_names_its_maker(smoke):
    stamp = read_json(smoke.results / "stamp.json")
    entries = sorted(smoke.figures.glob("*.json"))
    paragraphs = provenance.explain(entries)
    assert len(paragraphs) == len(entries) > 30
    for path, text in zip(entries, paragraphs, strict=True):
        assert text.startswith(f"{path.stem}\n") and "nothing in this checkout" not in text
        for value in (stamp["commit"], stamp["data"], stamp["fingerprint"], stamp["tensorflow"]):
            assert value in text
    assert set(gallery.FIGURES) <= {p.stem for p in entries}


def test_the_cell_is_the_one_that_saves_it():
    for name in (*gallery.FIGURES, *tables.TABLES):
        (maker,) = provenance.makers(name)
        notebook, _, number = maker.partition(", cell ")
        cells = json.loads((provenance.NOTEBOOKS / notebook).read_text(encoding="utf-8"))["cells"]
        source = "".join(cells[int(number) - 1]["source"])
        assert re.search(rf'ws\.(figure|table)\("{name}", ', source)
    assert provenance.makers("claims") == ["lhdlib/figures/claims.py"]
    assert provenance.makers("fig99_nothing") == []


def test_all_files_of_a_figure_are_one_paragraph_and_a_moved_picture_knows_itself(smoke, tmp_path, capsys):
    files = sorted(smoke.figures.glob("fig08*"))
    assert len(files) == 3
    assert command.main(["explain", *map(str, files)]) == 0
    text = capsys.readouterr().out
    assert text.count("made by:") == 1 and "05_regularization.ipynb, cell " in text
    shutil.copy(smoke.figures / "fig08_roc.png", tmp_path)
    assert provenance.explain([tmp_path / "fig08_roc.png"]) == [text.rstrip("\n")]


def test_other_files_are_one_sentence(tmp_path, capsys):
    (tmp_path / "x.png").write_bytes(b"no picture")
    (tmp_path / "y.json").write_text("[1]")
    for name in ("x.png", "y.json", "absent.pdf"):
        with pytest.raises(UserError, match="does not say where it came from"):
            provenance.explain([tmp_path / name])
        assert command.main(["explain", str(tmp_path / name)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
