"""What makes a notebook stale, and what a run records about a finished one."""

import os
import shutil
import time
from pathlib import Path
from unittest import mock

import nbformat
import pytest

from lhdlib import files
from lhdlib.run import notebooks, stale, workspace
from tests.run.test_notebooks import FIRST, UPSTREAM, make_place, write_notebook


@pytest.fixture
def place(tmp_path):
    return make_place(tmp_path)


def test_a_notebook_edited_while_it_ran_stays_unfinished(place):
    with mock.patch.dict(os.environ):
        space = workspace.open_workspace("smoke", results=str(place.results), figures=str(place.figures))
    plan = stale.Plan(space, "", place.notebooks, UPSTREAM)
    place.results.mkdir()
    with stale.recorded(plan, "01"):
        write_notebook(place.notebooks / "01_first.ipynb", FIRST + "# edited")
    assert not stale.finished(plan, "01")
    with stale.recorded(plan, "01"):
        pass
    assert stale.finished(plan, "01") and stale.reasons(plan, "01") == []


def test_a_changed_archive_makes_only_its_reader_stale(place, tmp_path):
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "a.ima").write_bytes(b"one")
    space = workspace.open_workspace(
        "smoke", data_dir=str(archive), results=str(place.results), figures=str(place.figures)
    )
    plan = stale.Plan(space, str(archive), place.notebooks, UPSTREAM)
    place.results.mkdir()
    for number in UPSTREAM:
        with stale.recorded(plan, number):
            pass
    time.sleep(0.02)
    (archive / "a.ima").write_bytes(b"two")
    assert stale.reasons(plan, "01") == [f"the list of files in {archive} changed"]
    assert stale.reasons(plan, "02") == []


def plan_of(folder: Path, archive: Path | None = None) -> stale.Plan:
    """The two notebooks with results and figures below `folder`."""
    folders = {"results": str(folder / "results"), "figures": str(folder / "figures")}
    space = workspace.open_workspace("smoke", data_dir=str(archive or ""), **folders)
    return stale.Plan(space, str(archive or ""), folder / "notebooks", UPSTREAM)


def record_all(plan: stale.Plan) -> None:
    """Record both notebooks as finished, each with a result and a figure."""
    for number in UPSTREAM:
        with stale.recorded(plan, number):
            (plan.space.part(number) / "value.txt").write_text(number)
            plan.space.figures.mkdir(exist_ok=True)
            (plan.space.figures / f"fig{number}.png").write_text(number)


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree], ids=["moved", "copied"])
def test_a_moved_or_copied_checkout_is_up_to_date(tmp_path, monkeypatch, move):
    """With the archive inside; afterwards what is changed in the new place is seen there."""
    old, new = make_place(tmp_path / "old").folder, tmp_path / "elsewhere" / "new"
    (old / "data").mkdir()
    (old / "data" / "a.ima").write_bytes(b"one")
    monkeypatch.setattr(stale, "ROOT", old)
    record_all(plan_of(old, old / "data"))
    assert str(tmp_path) not in (old / "results" / stale.RECORDS).read_text()
    new.parent.mkdir()
    move(old, new)
    monkeypatch.setattr(stale, "ROOT", new)
    plan = plan_of(new, new / "data")
    assert [stale.reasons(plan, number) for number in UPSTREAM] == [[], []]
    (new / "figures" / "fig02.png").unlink()
    (new / "results" / "01" / "outputs.json").write_text("{}")
    assert stale.reasons(plan, "02") == ["the results of 01 changed", "figures/fig02.png is missing"]


def test_a_figure_of_another_run_is_drawn_again(tmp_path):
    """A checkout of figures left the maintainers' where the run's had been, and every notebook was up to date."""
    plan = plan_of(make_place(tmp_path).folder)
    record_all(plan)
    (plan.space.figures / "fig01.png").write_text("of another run")
    name = stale.shown(plan.space.figures / "fig01.png")
    assert [stale.reasons(plan, number) for number in UPSTREAM] == [[f"{name} changed"], []]


def test_a_figure_that_two_notebooks_draw_is_the_later_ones(tmp_path):
    plan = plan_of(make_place(tmp_path).folder)
    page = plan.space.figures / "atlas.html"
    record_all(plan)
    for number in ("01", "02", "01"):
        with stale.recorded(plan, number):
            page.write_text(f"of {number}")
        assert [stale.reasons(plan, one) for one in UPSTREAM] == [[], []]
    page.write_text("of nobody")
    assert all(stale.reasons(plan, number) == [f"{stale.shown(page)} changed"] for number in UPSTREAM)


def test_records_of_earlier_versions_are_finished_and_their_figures_drawn_again(tmp_path):
    plan = plan_of(make_place(tmp_path).folder)
    record_all(plan)
    records = files.read_json(plan.space.results / stale.RECORDS)
    for record in records.values():
        record["figures"] = list(record["figures"])
    files.write_json(plan.space.results / stale.RECORDS, records)
    name = stale.shown(plan.space.figures / "fig01.png")
    assert stale.finished(plan, "01") and stale.reasons(plan, "01") == [f"{name} changed"]
    with stale.recorded(plan, "01"):
        (plan.space.figures / "fig01.png").write_text("01")
    assert stale.reasons(plan, "01") == [] and len(stale.reasons(plan, "02")) == 1


def test_results_outside_the_checkout_may_move_too(tmp_path):
    old, new = make_place(tmp_path / "old").folder, tmp_path / "new"
    record_all(plan_of(old))
    shutil.move(old / "results", new)
    space = workspace.open_workspace("smoke", results=str(new), figures=str(old / "figures"))
    plan = stale.Plan(space, "", old / "notebooks", UPSTREAM)
    assert [stale.reasons(plan, number) for number in UPSTREAM] == [[], []]


def test_a_list_stays_readable_when_everything_changed(tmp_path):
    plan = plan_of(make_place(tmp_path).folder)
    record_all(plan)
    records = files.read_json(plan.space.results / stale.RECORDS)
    records["01"]["made from"] |= {f"lhdlib/module_{n:03}.py": "old" for n in range(500)}
    files.write_json(plan.space.results / stale.RECORDS, records)
    _, first, second = notebooks.table(plan).splitlines()
    assert first.endswith(
        "stale: lhdlib/module_000.py changed; lhdlib/module_001.py changed; lhdlib/module_002.py changed; and 497 more"
    )
    assert second.endswith("stale: 01 is stale")


def test_a_failed_body_that_changed_nothing_keeps_the_record_and_one_that_did_does_not(tmp_path):
    plan = plan_of(make_place(tmp_path).folder)
    record_all(plan)
    with pytest.raises(KeyboardInterrupt), stale.recorded(plan, "02"):
        assert not stale.finished(plan, "02") and stale.finished(plan, "01")
        raise KeyboardInterrupt
    assert stale.reasons(plan, "02") == []
    with pytest.raises(KeyboardInterrupt), stale.recorded(plan, "02"):
        (plan.space.part("02") / "more.txt").write_text("half")
        raise KeyboardInterrupt
    assert not stale.finished(plan, "02") and stale.reasons(plan, "01") == []


def test_data_files_are_those_beside_the_modules():
    show, grammar = workspace.ROOT / "lhdlib" / "show", workspace.ROOT / "lhdlib" / "data" / "grammar"
    found = stale.data_files([show / "atlas.py", show / "panel.py", grammar / "words.py"])
    assert {path.name for path in found} == {
        "atlas.html",
        "atlas.css",
        "atlas.js",
        "panel.css",
        "panel.js",
        "lexicon.toml",
    }
    assert stale.data_files([workspace.ROOT / "lhdlib" / "paper.py"]) == set()


def test_module_files_follow_imports_through_the_package(tmp_path):
    package = tmp_path / "pack"
    (package / "sub").mkdir(parents=True)
    for name, text in {
        "__init__.py": "",
        "a.py": "def f():\n    from pack.sub import b\n",
        "sub/__init__.py": "",
        "sub/b.py": "import numpy\nimport pack.c",
        "c.py": "",
        "unused.py": "",
    }.items():
        (package / name).write_text(text)
    found = {
        path.relative_to(package).as_posix() for path in stale.module_files("from pack.a import f", package=package)
    }
    assert found == {"__init__.py", "a.py", "sub/__init__.py", "sub/b.py", "c.py"}
    assert stale.module_files("import numpy, packing", package=package) == set()


def test_upstream_names_earlier_notebooks_only():
    both = {**stale.UPSTREAM, **stale.BEYOND}
    assert list(both) == sorted(both) and len(both) == len(stale.UPSTREAM) + len(stale.BEYOND)
    assert all(earlier < number for number, upstream in both.items() for earlier in upstream)
    assert all(earlier in stale.UPSTREAM for upstream in both.values() for earlier in upstream)


def test_what_a_notebook_has_drawn_is_told_in_its_order_under_its_title(place):
    code = 'ws.figure("b", fig, c)\nws.table(\n    "a", t, c\n)\nif x:\n    ws.table("not_this_time", t, c)'
    cells = [nbformat.v4.new_markdown_cell("# 01 · A title\n\nText."), nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), place.notebooks / "01_first.ipynb")
    plan = plan_of(place.folder)
    plan.space.results.mkdir()
    with stale.recorded(plan, "01"):
        for name in ("a", "b", "of_no_cell"):
            files.write_json(plan.space.figures / f"{name}.json", {})
    assert stale.drawn(plan) == {"01 · A title": ["b", "a"]}
