"""The atlas as a file: what it holds, what it asks for, and how large it is. `tests/browser` opens it."""

import base64
import dataclasses
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lhdlib import gradcam
from lhdlib.data.marks import Marks
from lhdlib.data.sagittal import SagittalView
from lhdlib.errors import UserError
from lhdlib.show import atlas
from lhdlib.show import disc as readings
from lhdlib.show.slabs import LINES, UsedSlices

SIZE, CELLS = 32, 4
STAMP = {"commit": "0123abc", "profile": "smoke", "seed": 0, "data": "made-up numbers"}
HOSTILE = "</script><script>alert('x')</script><img src=//evil onerror=alert(1)> \u2028 \ud800 $title L4-L5 bulge"


def make_reading(discs: int = 12, seed: int = 0, **columns) -> readings.Reading:
    """Made-up discs with all four outcomes; `columns` replace those of the table."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "patient": [f"{number // 2:04d}" for number in range(discs)],
            "level": np.array(["L3-L4", "L4-L5", "L5-S1"])[np.arange(discs) % 3],
            "label": np.arange(discs) % 2,
            "probability": rng.uniform(0, 1, discs),
            "note": "L4-L5 disc bulge.",
        }
    ).assign(**columns)
    table[readings.SLICES] = rng.integers(0, 30, (discs, 3))
    blocks = rng.uniform(0, 1, (30, 8, 8)).repeat(SIZE // 8, axis=1).repeat(SIZE // 8, axis=2)
    maps = rng.uniform(0, 1, (discs, 3, CELLS, CELLS)).astype(np.float32)
    shares = rng.dirichlet([1, 1, 1], discs)
    return readings.Reading(blocks.astype(np.float16), table, maps, maps[::-1], shares, "made-up <numbers>")


class _Page(HTMLParser):
    """Elements with their attributes, and the text of script elements, as a browser takes them apart."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.scripts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts.append(data)

    def policy(self) -> str:
        (found,) = [a["content"] for _, a in self.elements if a.get("http-equiv") == "Content-Security-Policy"]
        return found

    def held(self) -> dict:
        return json.loads(self.scripts[0])

    def discs(self) -> list[dict]:
        return self.held()["discs"]


def written(reading, tmp_path, **options) -> tuple[atlas.Written, str, _Page]:
    done = atlas.write_atlas(reading, tmp_path / "atlas.html", STAMP, **options)
    text = done.path.read_text(encoding="utf-8")
    return done, text, _Page(text)


def pixels(url: str) -> np.ndarray:
    kind, data = re.fullmatch(r"data:image/(webp|png);base64,(.*)", url).groups()
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert image.format == kind.upper()
    return np.asarray(image.convert("RGBA" if kind == "png" else "RGB")).astype(int)


@pytest.mark.slow
def test_it_holds_every_disc_as_the_viewer_shows_it(tmp_path):
    reading = make_reading()
    done, _, page = written(reading, tmp_path)
    discs = page.discs()
    assert done.left_out == () and len(discs) == len(reading.discs)
    for row, disc in enumerate(discs):
        said = readings.facts(reading, row)
        assert disc["caption"] == readings.caption(said)
        assert disc["outcome"] == said["outcome"] and disc["called"] == said["called"]
        assert disc["probability"] == pytest.approx(said["probability"], abs=1e-4)
        assert disc["error"] == pytest.approx(abs(reading.discs.label[row] - said["probability"]), abs=1e-4)
        drawn = np.asarray(readings.draw_disc(reading, row, readings.Look(heatmap="none"), side=done.side))
        found, wanted = pixels(disc["slices"]), drawn[: done.side].astype(int)
        assert found.shape == wanted.shape == (done.side, 3 * done.side, 3)
        assert np.abs(found - wanted).mean() < 6  # lossy
        assert np.abs(found[:, ::-1] - wanted).mean() > 12


@pytest.mark.slow
@pytest.mark.parametrize("where", [None, gradcam.Cells(0.2, 0.19, 0.125, 0.875)])
def test_the_page_holds_what_draws_the_maps_as_the_viewer_does(tmp_path, where):
    """Cells, weights and colours of the page, put together here, against the viewer's picture."""
    reading = dataclasses.replace(make_reading(), where=where)
    _, _, page = written(reading, tmp_path)
    heat = page.held()["heat"]
    weights, side = np.array(heat["weights"]), heat["side"]
    colors = np.frombuffer(base64.b64decode(heat["colors"]), np.uint8).reshape(256, 3)
    assert tuple(heat["seen"]) == ((where.low, where.high) if where else (0, 1))
    for row, disc in enumerate(page.discs()[:4]):
        for kind in ("paper", "classic"):
            cells = np.frombuffer(base64.b64decode(disc[kind]), np.uint8).reshape(3, CELLS, CELLS) / 255
            hot = np.concatenate(list(np.clip(weights @ cells @ weights.T, 0, 1)), axis=1)
            look = readings.Look(opacity=0.6, heatmap=kind, always=True)
            grey, wanted = np.split(np.asarray(readings.draw_disc(reading, row, look, side=side)).astype(float), 2)
            share = 0.6 * (hot**2 * (3 - 2 * hot))[..., None]
            found = (1 - share) * grey + share * colors[np.round(255 * hot).astype(int)]
            off = np.abs(found - wanted).max(axis=-1)
            framed = (wanted == readings.FRAME).all(axis=-1) & (where is not None)
            assert np.quantile(off[~framed], 0.999) <= 4  # in 256 steps


@pytest.mark.slow
def test_marks_swap_with_the_orientation(tmp_path):
    reading = make_reading()
    for left, right in (("R", "L"), ("L", "R")):
        marks = [Marks(left, right, 64.0, 2, 5)] * len(reading.images)
        _, _, page = written(dataclasses.replace(reading, marks=marks), tmp_path)
        assert all(disc["marks"] == 3 * [[left, right, "2 of 5", 20, 64.0]] for disc in page.discs())
    assert all("marks" not in disc for disc in written(reading, tmp_path)[2].discs())


@pytest.mark.slow
def test_a_sagittal_view_is_held_once_for_all_discs_of_its_study(tmp_path):
    rng = np.random.default_rng(0)
    cuts = tuple(np.array([[[5.0, y], [35.0, y + 1]] for y in ys]) for ys in ([10, 12, 14, 16], [25, 27, 29]))
    views = [
        SagittalView(str(n), rng.uniform(0, 1, (40, 40)).astype(np.float32), (1.0, 1.0), cuts, sides=("A", "P"))
        for n in range(2)
    ]

    def sagittal(row):
        if row == 4:
            raise UserError("The image is gone: put it back.")
        return UsedSlices(views[row % 2], ("L4-L5", "L5-S1"), row % 2, (0, 1, 2))

    _, text, page = written(dataclasses.replace(make_reading(), sagittal=sagittal), tmp_path)
    studies, found = page.held()["studies"], page.discs()
    assert len(studies) == 2 and "study" not in found[4] and LINES in text
    for row in (0, 1, 2, 3, 5):
        study = studies[found[row]["study"]]
        assert found[row]["slab"] == row % 2 and found[row]["used"] == [0, 1, 2]
        assert study["names"] == ["L4-L5", "L5-S1"] and study["marks"][:2] == ["A", "P"]
        scale = study["size"][0] / 40
        wanted = [(lines.reshape(-1, 4) + 0.5) * scale for lines in cuts]
        assert all(np.allclose(a, b, atol=0.06) for a, b in zip(study["lines"], wanted, strict=True))
        assert pixels(study["picture"]).shape[:2] == tuple(study["size"][::-1])


@pytest.mark.slow
def test_it_explains_itself_in_five_lines_and_counts_how_good_it_is(tmp_path):
    reading = make_reading()
    _, text, _ = written(reading, tmp_path)
    lines = re.findall("<li><b>(.*?)</b>: (.*?)</li>", text)
    assert [name for name, _ in lines] == ["Probability", "Slice weight", "Heatmap", "How good it is", "Data"]
    outcomes = list(reading.outcomes())
    hits, rejected = outcomes.count("true positive"), outcomes.count("true negative")
    assert f"of 6 abnormal discs here it calls {hits} abnormal, of 6 normal ones {rejected} normal; AUC " in text
    label, score = reading.discs.label.to_numpy(), reading.discs.probability.to_numpy()
    auc = np.mean(score[label == 1][:, None] > score[label == 0])
    assert f"AUC {auc:.3f} [" in text
    assert "How good it is</b>: not known" in written(make_reading(label=np.nan), tmp_path)[1]


def test_nothing_is_asked_of_a_network(tmp_path):
    _, text, page = written(make_reading(note="see http://example.org"), tmp_path)
    pictures = re.sub(r"data:image/\w+;base64,[A-Za-z0-9+/=]+", "", text)
    own = re.sub(r'<script type="application/json".*?</script>', "", pictures, flags=re.DOTALL)
    assert len(own) < 30_000 and "<script>" in own
    assert not re.search(r"https?:|//|\bsrc=|url\(|@import|fetch\(|XMLHttp|import\(", own)
    policy = dict(part.split(" ", 1) for part in page.policy().split("; "))
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy["default-src"] == "'none'" and policy["img-src"] == "data:"
    assert policy["script-src"] == f"'sha256-{digest}'"
    assert [tag for tag, _ in page.elements].index("meta") < 4  # before anything that it governs
    for tag, attributes in page.elements:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "href")}, tag


@pytest.mark.slow
def test_text_from_files_stays_text(tmp_path):
    reading = dataclasses.replace(
        make_reading(note=HOSTILE, patient=HOSTILE, level=HOSTILE, flag=HOSTILE), data_label=HOSTILE
    )
    plain = written(make_reading(), tmp_path)[2]
    plain_text = HOSTILE.replace("\ud800", "")
    stamp = {plain_text: plain_text}
    path = atlas.write_atlas(reading, tmp_path / "hostile.html", stamp, title=plain_text, warning=plain_text).path
    page = _Page(path.read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert len(page.scripts) == 2 and page.scripts[1] == plain.scripts[1]
    for disc in page.discs():
        parsed = _Page(disc["caption"])
        assert not {"script", "img"} & {tag for tag, _ in parsed.elements}
        assert HOSTILE in disc["name"]  # set as text


@pytest.mark.slow
def test_the_page_says_what_it_is_about(tmp_path):
    _, text, _ = written(make_reading(), tmp_path)
    assert "Data: made-up &lt;numbers&gt;" in text and atlas.NOT_CLINICAL in text
    for key, value in STAMP.items():
        assert f"{key} {value}" in text
    _, text, _ = written(make_reading(), tmp_path, title="A & B", warning="<careful>", details="<h2>More</h2>")
    assert "<h1>A &amp; B</h1>" in text and "&lt;careful&gt;" in text and "<h2>More</h2>" in text
    assert "Data: made-up" not in text.split("<script")[0]


@pytest.mark.slow
def test_equal_input_gives_equal_bytes(tmp_path):
    first = written(make_reading(), tmp_path)[0].path.read_bytes()
    assert written(make_reading(), tmp_path)[0].path.read_bytes() == first
    assert written(make_reading(seed=1), tmp_path)[0].path.read_bytes() != first


def test_labels_that_nobody_knows(tmp_path):
    discs = written(make_reading(label=np.nan), tmp_path)[2].discs()
    assert {disc["error"] for disc in discs} == {None}
    assert {disc["outcome"] for disc in discs} == {"called abnormal", "called normal"}


def test_no_disc_at_all(tmp_path):
    done, _, page = written(make_reading(0), tmp_path)
    assert page.discs() == [] and done.left_out == ()


@pytest.mark.slow
def test_the_outline_lies_where_the_lesion_is(tmp_path):
    cover = np.zeros((3, SIZE, SIZE), np.float32)
    cover[1, 8:16, 4:20] = 1
    reading = dataclasses.replace(make_reading(), lesion=lambda row: cover if row == 2 else 0 * cover)
    done, text, page = written(reading, tmp_path)
    assert [row for row, disc in enumerate(page.discs()) if "lesion" in disc] == [2]
    found = pixels(page.discs()[2]["lesion"])
    edge = np.concatenate(list(readings.outline(cover, done.side)), axis=1)
    assert (found[..., 3] == 255 * edge).all() and (found[edge][:, :3] == readings.CONTOUR).all()
    assert '<label hidden><input id="truth"' not in text
    assert '<label hidden><input id="truth"' in written(make_reading(), tmp_path)[1]


@pytest.mark.slow
def test_pictures_shrink_before_a_disc_is_left_out(tmp_path):
    reading = make_reading(24)
    roomy, _, _ = written(reading, tmp_path)
    size = roomy.path.stat().st_size
    sides, left_out = [roomy.side], []
    for share in (0.95, 0.5, 0.3, 0.2):
        done, text, page = written(reading, tmp_path, limit=int(share * size))
        assert done.path.stat().st_size <= share * size
        sides.append(done.side)
        left_out.append(len(done.left_out))
        assert len(page.discs()) == 24 - len(done.left_out)
        assert done.left_out == tuple(range(24 - len(done.left_out), 24))
        assert ("found no room" in text) == bool(done.left_out)
        if done.left_out:
            first, last = (readings.facts(reading, row) for row in (done.left_out[0], 23))
            assert f"{len(done.left_out)} of 24 discs" in text
            assert f"patient {first['patient']}, {first['level']} to patient {last['patient']}" in text
    assert sides == sorted(sides, reverse=True) and sides[1] < sides[0]
    assert left_out == sorted(left_out) and left_out[0] == 0 < left_out[-1]


@pytest.mark.slow
def test_five_thousand_discs_stay_below_ten_megabytes(tmp_path, monkeypatch):
    """Pictures of a size typical of 64 pixels stand for real ones, whose drawing would take a minute."""
    reading = make_reading(5000, note="L4-L5 and L5-S1 disc bulges compress the thecal sac.")

    def slices(reading, row, side, quality):
        return {"slices": "data:image/webp;base64," + "A" * round(0.015 * side**2 * quality)}

    monkeypatch.setattr(atlas, "_slices", slices)
    done, text, page = written(reading, tmp_path)
    assert 8e6 < done.path.stat().st_size <= 10e6
    assert len(page.discs()) + len(done.left_out) == 5000
    assert not done.left_out or f"{len(done.left_out)} of 5000 discs found no room" in text


def test_a_failure_leaves_the_earlier_page(tmp_path, monkeypatch):
    done, text, _ = written(make_reading(), tmp_path)

    def fail(*_, **__):
        raise UserError("The slice store is gone.")

    monkeypatch.setattr(readings, "draw_disc", fail)
    with pytest.raises(UserError, match="store is gone"):
        written(make_reading(seed=1), tmp_path)
    assert done.path.read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["atlas.html"]
