"""Keys of content and of code, cached arrays, stored models."""

import ast
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from lhdlib import cache, paper, profile
from lhdlib.errors import UserError


def test_content_key_tells_apart_what_differs(tmp_path):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_bytes(b"x = 1\n")
    two.write_bytes(b"x = 2\n")
    demo = profile.load("demo")
    settings = [demo, demo.replace(pretrain={"w": 0.5}), demo.pretrain, demo.finetune]
    parts = [(), (1,), (1.5,), ("1",), (None,), ([1, 2],), (1, 2), ([1], 2), ("a", "b"), ("ab",), ("a,b",), (True,)]
    parts += [({"a": 1},), ({"a": 2},), ({"b": 1},), (one,), (two,), (one, two), (two, one), (str(one),)]
    parts += [(s,) for s in settings]
    keys = [cache.content_key(*p) for p in parts]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)


def test_content_key_depends_on_contents_alone(tmp_path):
    one, copy = tmp_path / "one.py", tmp_path / "copy.py"
    one.write_text("x = 1\n")
    copy.write_text("x = 1\n")
    os.utime(copy, (0, 0))
    assert cache.content_key(one) == cache.content_key(copy)
    assert cache.content_key({"a": 1, "b": 2}) == cache.content_key({"b": 2, "a": 1})
    demo = profile.load("demo")
    assert cache.content_key(demo.views) == cache.content_key(profile.load("demo").views)
    before = cache.content_key(one)
    one.write_text("x = 1 \n")
    assert cache.content_key(one) != before


def test_every_profile_value_changes_its_key():
    demo = profile.load("demo")
    changed = [
        demo.replace(**{section: {key: value}})
        for section, key, value in [
            ("views", "blur_sigma", (0.02, 0.44)),
            ("encoder", "blocks", (2, 2, 2, 3)),
            ("pretrain", "same_patient_negatives", False),
            ("finetune", "w", 1e-12),
            ("data", "split", "patient"),
        ]
    ]
    keys = {cache.content_key(p) for p in [demo, *changed]}
    assert len(keys) == 6


def test_cached_computes_once_per_key(tmp_path):
    path, calls = tmp_path / "part" / "features.npz", []

    def compute():
        calls.append(1)
        return {"x": np.arange(6.0).reshape(2, 3) * len(calls), "labels": np.array([0, 1], np.int8)}

    first = cache.cached(path, "one", compute)
    again = cache.cached(path, "one", compute)
    assert len(calls) == 1 and first.keys() == again.keys() == {"x", "labels"}
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert first[name].dtype == again[name].dtype
    other = cache.cached(path, "two", compute)
    assert len(calls) == 2 and other["x"].max() == 10
    cache.cached(path, "one", compute)
    assert len(calls) == 3  # the file holds one key


def test_a_failed_computation_leaves_the_cache(tmp_path):
    path = tmp_path / "features.npz"
    cache.cached(path, "one", lambda: {"x": np.ones(3)})
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        cache.cached(path, "two", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert path.read_bytes() == before
    assert cache.cached(path, "one", lambda: pytest.fail("computed again"))["x"].sum() == 3


@pytest.mark.parametrize("damage", ["objects", "cut"])
def test_cached_arrays_are_never_pickled_and_made_anew_when_damaged(tmp_path, damage):
    path = tmp_path / "features.npz"
    if damage == "objects":
        np.savez(path, key=np.array("one"), x=np.array([{"a": 1}], dtype=object))
    else:
        cache.cached(path, "one", lambda: {"x": np.zeros(100)})
        path.write_bytes(path.read_bytes()[:300])
    found = cache.cached(path, "one", lambda: {"x": np.arange(3)})
    np.testing.assert_array_equal(found["x"], np.arange(3))
    np.testing.assert_array_equal(cache.cached(path, "one", lambda: pytest.fail("kept"))["x"], np.arange(3))


@pytest.fixture
def stored(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    path = tmp_path / "models" / "encoder.keras"
    cache.save_model(path, model, "right")
    return path, model


def test_a_model_is_loaded_under_its_key_alone(stored):
    path, model = stored
    assert sorted(p.name for p in path.parent.iterdir()) == ["encoder.keras", "encoder.key"]
    for loaded in (cache.load_model(path, key="right"), cache.load_model(path)):
        for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert cache.load_model(path, key="wrong") is None
    assert cache.load_model(path.with_name("absent.keras"), key="right") is None
    path.with_suffix(".key").unlink()
    assert cache.load_model(path, key="right") is None


def test_an_interrupted_save_is_not_loaded(stored, monkeypatch):
    """The key is written last: weights without a key, or an old key beside new weights, never count."""
    path, _ = stored

    class Interrupted:
        def save(self, target):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.save_model(path, Interrupted(), "new")
    assert cache.load_model(path, key="new") is None
    assert cache.load_model(path, key="right") is None
    assert cache.load_model(path) is not None  # the old file is whole


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "flipped"])
def test_a_damaged_model_is_named(stored, kind):
    path, _ = stored
    content = path.read_bytes()
    place = content.index(b"config.json") + 60
    damaged = {
        "empty": b"",
        "text": b"not a model",
        "truncated": content[: len(content) // 2],
        "flipped": content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :],
    }
    path.write_bytes(damaged[kind])
    with pytest.raises(UserError, match=r"encoder\.keras is not a model of this project or is damaged: delete it"):
        cache.load_model(path, key="right")


def test_a_model_with_code_inside_is_refused(tmp_path):
    """Safe mode: a lambda in a stored model is not run."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2)])
    cache.save_model(tmp_path / "model.keras", model, "key")
    with pytest.raises(UserError, match="not a model of this project"):
        cache.load_model(tmp_path / "model.keras", key="key")


# Keys of code


@pytest.fixture
def package(tmp_path):
    """A copy of the package whose files may be changed."""
    return Path(shutil.copytree(cache.PACKAGE, tmp_path / "lhdlib", ignore=shutil.ignore_patterns("__pycache__")))


KEYS = {  # what is kept under a key of code, by the module that makes it
    "dataset": "lhdlib.data.dataset",
    "encoder": "lhdlib.model.pretrain",
    "features": "lhdlib.model.finetune",
    "controls": "lhdlib.model.controls",
    "baseline": "lhdlib.model.supervised",
    "equal labels": "lhdlib.model.same_labels",
    "autoencoder": "lhdlib.model.autoencoder",
}


def keys(package: Path) -> dict[str, str]:
    return {name: cache.code_key(module, package=package) for name, module in KEYS.items()}


def changed_by(package: Path, **edits: Callable[[str], str]) -> set[str]:
    """Whose keys change when the text of files (``a__b`` is a/b.py) is edited."""
    before = keys(package)
    for place, edit in edits.items():
        path = package / f"{place.replace('__', '/')}.py"
        text = path.read_text(encoding="utf-8")
        assert edit(text) != text
        path.write_text(edit(text), encoding="utf-8")
    return {name for name, key in keys(package).items() if key != before[name]}


@pytest.mark.slow
def test_a_copy_has_the_packages_keys(package):
    assert keys(package) == keys(cache.PACKAGE)
    assert len(set(keys(package).values())) == len(KEYS)


PROSE = {
    "a comment": lambda text: text + "# said later\n",
    "blank lines": lambda text: text.replace("\n\n", "\n\n\n\n"),
    "all docstrings": lambda text: re.sub(r'(?m)^(\s*)"""(?=[A-Z`])', r'\1"""Said otherwise: ', text),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROSE)
def test_prose_changes_no_key(package, kind):
    places = ("model__losses", "model__pretrain", "augment", "model__encoder", "data__dataset", "data__discs")
    assert changed_by(package, **dict.fromkeys(places, PROSE[kind])) == set()


@pytest.mark.slow
def test_a_changed_computation_changes_what_is_made_with_it(package):
    change = lambda old, new: lambda text: text.replace(old, new)  # noqa: E731
    assert changed_by(package, model__losses=change("reduce_logsumexp(logits", "reduce_logsumexp(1.01 * logits")) == {
        "encoder"
    }
    views = changed_by(package, augment=change("rng.uniform(0, 0.25", "rng.uniform(0, 0.3"))
    assert views == {"encoder", "features", "controls", "baseline", "equal labels"}
    assert changed_by(package, data__discs=lambda text: text + "LIMIT = 3\n") == {"dataset"}
    assert changed_by(package, files=lambda text: text + "LIMIT = 3\n") == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, value",
    [
        ("ASPECT", "(0.7, 4 / 3)"),
        ("MAX_TRIES", "99"),
        ("BRIGHTNESS", "(0.5, 1.4)"),
        ("CONTRAST", "(0.6, 1.5)"),
        ("BLUR_KERNEL", "0.07"),
    ],
)
def test_a_constant_of_the_paper_retrains_what_uses_it(package, name, value):
    edit = lambda text: re.sub(rf"(?m)^{name} = .*$", f"{name} = {value}", text)  # noqa: E731
    assert "encoder" in changed_by(package, paper=edit)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TABLE1", "TABLE2", "TABLE3", "COUNTS", "CITATION", "SUPERVISED_EPOCHS"])
def test_other_numbers_of_the_paper_retrain_nothing(package, name):
    edit = lambda text: re.sub(rf"(?m)^{name} = ", f"{name} = None or ", text)  # noqa: E731
    assert changed_by(package, paper=edit) == set()


@pytest.mark.slow
def test_constants_count_with_those_that_they_are_made_of(package):
    edit = lambda text: text.replace("MAX_TRIES = 100", "HALF: int = 50\nMAX_TRIES: int = 2 * HALF")  # noqa: E731
    assert "encoder" in changed_by(package, paper=edit)
    assert "encoder" in changed_by(package, paper=lambda text: text.replace("HALF: int = 50", "HALF: int = 51"))


@pytest.mark.slow
def test_every_module_names_the_papers_constants_so_that_keys_see_them():
    """``paper.NAME``, after ``from lhdlib import paper``; NAME is a constant."""
    for path in sorted(cache.PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom | ast.Import):
                modules = {getattr(node, "module", None), *(alias.name for alias in node.names)}
                assert cache.PAPER not in modules, path
                assert all(alias.name != "paper" or not alias.asname for alias in node.names), path
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "paper":
                assert node.attr.isupper() and hasattr(paper, node.attr), (path, node.attr)


MOVES = {  # old and new place of a module, and how its importers' lines change
    "losses to the top": (
        ("model/losses.py", "losses.py"),
        (("from lhdlib.model import losses", "from lhdlib import losses"),),
    ),
    "augment to a folder of its own": (
        ("augment.py", "views/drawn.py"),
        (("from lhdlib import augment", "from lhdlib.views import drawn as augment"),),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MOVES)
def test_a_module_moved_unchanged_changes_no_key(package, kind):
    (old, new), lines = MOVES[kind]
    for path in sorted(package.rglob("*.py")):  # one name an import line, so that lines are easily replaced
        path.write_text(one_name_a_line(path.read_text(encoding="utf-8")), encoding="utf-8")
    before, moved = keys(package), 0
    (package / new).parent.mkdir(exist_ok=True)
    (package / old).rename(package / new)
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for line, instead in lines:
            moved += line in text
            text = text.replace(line, instead)
        path.write_text(text, encoding="utf-8")
    assert moved >= 1 and keys(package) == before == keys(cache.PACKAGE)
    assert "encoder" in changed_by(package, **{new[:-3].replace("/", "__"): lambda text: text + "LIMIT = 3\n"})


def one_name_a_line(text: str) -> str:
    def apart(match: re.Match) -> str:
        return "".join(f"from {match[1]} import {name.strip()}\n" for name in match[2].split(","))

    return re.sub(r"(?m)^from (lhdlib\S*) import ([^()\n]+)\n", apart, text)


@pytest.mark.slow
def test_a_data_file_counts_with_the_module_that_names_it(package):
    beside = package / "data" / "grammar" / "planted.toml"
    beside.write_text("words = []\n")
    assert changed_by(package, data__grammar__findings=lambda text: text + 'PLANTED = "planted.toml"\n') == {"dataset"}
    before = keys(package)
    beside.write_text('words = ["bulge"]\n')
    assert {name for name, key in keys(package).items() if key != before[name]} == {"dataset"}
    before = keys(package)
    beside.with_name("unnamed.toml").write_text("")
    assert keys(package) == before


@pytest.mark.slow
def test_the_datasets_key_follows_all_modules_that_make_it(package):
    for place in ("data__labels", "data__splits", "data__store", "data__reports", "data__grammar__levels"):
        assert changed_by(package, **{place: lambda text: text + "LIMIT = 3\n"}) == {"dataset"}, place
    assert changed_by(package, data__card=lambda text: text + "LIMIT = 3\n") == set()
