"""The end of a run: three things are said, in order, and what they name is there."""

from lhdlib.run import stale


def test_it_says_how_it_came_out_what_holds_and_where_to_look(smoke):
    lines = smoke.out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("1. This machine: Not compared"))
    second, third, *places = lines[first + 1 :]
    assert second.startswith("2. The paper: Of the paper's 10 claims, ") and third == "3. Where to look:"
    named = dict(line.split(maxsplit=1) for line in places)
    assert named.keys() == {"book", "atlas", "gallery", "live"} and "jupyter lab" in named["live"]
    for name, file in (("book", "book.html"), ("atlas", "atlas.html"), ("gallery", "README.md")):
        assert named[name] == stale.shown(smoke.figures / file) and (smoke.figures / file).is_file()
