"""The dataset card's numbers add up; the manifest is the same wherever the same data are, and a change is named."""

import argparse
import hashlib
import re
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.uid import RLELossless

from lhdlib.data import card, dicom, discs
from lhdlib.data.dataset import Dataset
from lhdlib.errors import UserError
from tests.data import trees

SECRET = "MUSTERFRAU^ERIKA"
PLACE = ["patient", "study", "level"]


# The flow


def random_archive(rng: np.random.Generator, folder) -> tuple[Dataset, dict]:
    """Made-up tables as the build writes them, and their numbers counted while they were made."""
    reasons = ["localizer", "sagittal plane", "duplicate: of 0001/a", "duplicate: of 0002/b", "unreadable: ValueError"]
    truth: dict[str, Counter] = {name: Counter() for name in ("files", "slices", "pretrain", "discs", "samples")}
    slices, rejected, slabs, aside, samples = [], [], [], [], []
    for number in range(rng.integers(1, 40)):
        reason = str(rng.choice(reasons))
        rejected.append((f"r{number}", "0001", "", reason))
        truth["files"][reason.split(":")[0]] += 1
    for number in range(rng.integers(1, 60)):
        weighting, part = rng.choice(["T1", "T2"]), rng.choice(["train", "validation", ""], p=[0.7, 0.2, 0.1])
        slices.append((f"s{number}", "0001", "a", weighting, part or np.nan))
        if not part:  # its pixels could not be read: listed in both tables
            rejected.append((f"s{number}", "0001", "", "pixels unreadable: ValueError"))
            truth["files"]["pixels unreadable"] += 1
        else:
            truth["slices"][weighting] += 1
            truth["pretrain"][part] += 1
    for number in range(rng.integers(0, 30)):
        place = (f"{number // 3:04d}", "a", discs.LEVELS[number % 3])
        why = rng.choice(["", "not lumbar", "to be reviewed: repeated slab; level uncertain", "no note"])
        flag = why.partition(": ")[2]
        slabs += [(*place, "T1", 4.4, ""), (*place, "T2", 4.4, flag)]
        if rng.random() < 0.2:  # a second slab of that disc, which no reviewer has chosen
            slabs.insert(int(rng.integers(len(slabs))), (*place, "T2", 4.4, "slices at one place"))
            aside.append((*place, "to be reviewed: slices at one place"))
            truth["discs"]["to be reviewed: slices at one place"] += 1
        if why:
            aside += [(*place, why)] * int(1 if flag else rng.integers(1, 3))  # a row per slab, or per sample
            truth["discs"][why.split(";")[0]] += 1
        else:
            count = int(rng.integers(1, 3))
            parts = rng.choice(["train", "validation", "test", "unused"], (count, 2))
            samples += [(*place, part, 0, *splits) for part, splits in enumerate(parts)]
            truth["samples"][count] += 1
    tables = {
        "rejected": (rejected, ["path", "patient", "plane", "reason"]),
        "discs": (slabs, [*PLACE, "weighting", "spacing", "flag"]),
        "set_aside": (aside, [*PLACE, "reason"]),
    }
    for name, (rows, columns) in tables.items():
        pd.DataFrame(rows, columns=columns).to_csv(folder / f"{name}.csv", index=False)
    slices = pd.DataFrame(slices, columns=["path", "patient", "study", "weighting", "pretrain"])
    columns = [*PLACE, "part", "label", "split_paper", "split_patient"]
    return Dataset(np.zeros(0), slices, pd.DataFrame(samples, columns=columns), {}), truth


def numbers(steps: pd.DataFrame, step: str, aside: str) -> dict[str, int]:
    rows = steps[(steps.step == step) & (steps["set aside"] == aside)]
    assert rows.outcome.is_unique
    return dict(zip(rows.outcome, rows.number, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_every_step_adds_up(seed, tmp_path):
    data, truth = random_archive(np.random.default_rng(seed), tmp_path)
    steps = card.flow(data, tmp_path)
    total = steps.groupby("step").number.sum().to_dict() | {"none": 0}
    paths = {*data.slices.path, *pd.read_csv(tmp_path / "rejected.csv").path}
    slabs = pd.read_csv(tmp_path / "discs.csv")
    assert total["files"] == len(paths)
    assert numbers(steps, "files", "yes") == truth["files"]
    assert numbers(steps, "files", "") == {"axial T1 and T2 slices": truth["slices"].total()}
    assert total["axial slices"] == total["axial slices in pre-training"] == truth["slices"].total()
    assert numbers(steps, "axial slices in pre-training", "") == truth["pretrain"]
    assert total["T2 slabs"] == (slabs.weighting == "T2").sum()
    assert numbers(steps, "T2 slabs", "yes") == truth["discs"]
    assert numbers(steps, "T2 slabs", "") == {"labelled discs": truth["samples"].total()}
    per_disc = numbers(steps, "labelled discs", "")
    assert per_disc.get("with 1 of the samples", 0) == truth["samples"][1]
    assert per_disc.get("with 2 of the samples", 0) == truth["samples"][2]
    for split in ("paper", "patient"):
        name = f"samples, split {split!r}"
        assert total.get(name, 0) == len(data.samples) == truth["samples"][1] + 2 * truth["samples"][2]
        unused = (data.samples[f"split_{split}"] == "unused").sum()
        assert sum(numbers(steps, name, "yes").values()) == unused
        assert numbers(steps, name, "") == Counter(data.samples[f"split_{split}"].loc[lambda s: s != "unused"])


def test_a_slab_that_vanished_without_a_reason_is_shown(tmp_path):
    data, truth = random_archive(np.random.default_rng(3), tmp_path)
    aside = pd.read_csv(tmp_path / "set_aside.csv", dtype=str)
    aside[aside.reason != "not lumbar"].to_csv(tmp_path / "set_aside.csv", index=False)
    found = numbers(card.flow(data, tmp_path), "T2 slabs", "yes")
    assert found.pop("no reason recorded") == truth["discs"].pop("not lumbar") > 0
    assert found == truth["discs"]


# Prevalence, sizes, distances


def test_prevalence_is_counted_by_level_with_wilsons_interval():
    rng = np.random.default_rng(0)
    levels = rng.choice(["L5-S1", "L3-L4", "L1-L2"], 300)
    samples = pd.DataFrame({"level": levels, "label": rng.integers(0, 2, 300)})
    table = card.prevalence(samples).set_index("level")
    assert list(table.index) == ["L1-L2", "L3-L4", "L5-S1", "all"]
    for level, row in table.iterrows():
        labels = samples.label[(levels == level) | (level == "all")]
        n, p, z = len(labels), labels.mean(), 1.959963984540054
        center, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        assert (row.samples, row.positive, row.share) == (n, labels.sum(), pytest.approx(p))
        limits = [(center - half) / (1 + z**2 / n), (center + half) / (1 + z**2 / n)]
        assert [row.low, row.high] == pytest.approx(limits)


def test_sizes_state_the_field_of_view():
    rows = [("T2", 320, 320, 0.6875, "train")] * 3 + [("T1", 310, 320, 0.5, "train")] + [("T1", 9, 9, 1.0, np.nan)]
    slices = pd.DataFrame(rows, columns=["weighting", "rows", "columns", "row_spacing", "pretrain"])
    slices = slices.assign(column_spacing=slices.row_spacing, path=range(5), patient=["0001", "0002", "0002", "1", "1"])
    table = card.image_sizes(slices)
    assert table.to_dict("list") == {
        "weighting": ["T2", "T1"],
        "matrix": ["320 × 320", "310 × 320"],
        "pixel (mm)": ["0.6875 × 0.6875", "0.5000 × 0.5000"],
        "field of view (mm)": ["220 × 220", "155 × 160"],
        "slices": [3, 1],
        "patients": [2, 1],
    }


# The manifest


def archive(folder):
    """Two patients, one with two studies, each with two slabs; every header carries a name."""
    for patient, study in (("0001", "L-SPINE_A_20160101"), ("0001", "L-SPINE_B_20160102"), ("0007", "L-SPINE_C_2016")):
        for slab, height in enumerate((0.0, 35.0)):
            place = folder / patient / study / f"T2_{slab}"
            seed = sum(map(ord, patient + study)) + slab
            trees.write_slab(place, (0, 0, height), 4, 5.0 * slab, seed=seed, size=(32, 24), PatientName=SECRET)
    return folder


def build(folder) -> Dataset:
    """Samples of all slabs, without notes: labels and splits are made up."""
    slices, _ = dicom.index_tree(folder)
    table = discs.disc_samples(discs.group_discs(slices).assign(flag=""))
    index = pd.Series(slices.index, slices.path)
    samples = table.drop(columns="paths").assign(label=np.arange(len(table)) % 2, split_paper="train")
    samples = samples.assign(split_patient="test", note="unremarkable")
    for position in range(3):
        samples[f"slice_{position + 1}"] = index[[paths[position] for paths in table.paths]].to_numpy()
    info = {"data_label": "test, data", "fingerprint": "f" * 16}
    return Dataset(np.zeros((len(slices), 8, 8)), slices.assign(pretrain="train"), samples, info)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = archive(tmp_path_factory.mktemp("site") / "archive")
    return folder, build(folder)


@pytest.fixture(scope="module")
def table(site):
    return card.manifest(*site)


def rewritten(folder, copy, change, choose=lambda path: True):
    """A copy of the archive with some files' data sets changed."""
    shutil.copytree(folder, copy)
    for path in filter(choose, sorted(copy.rglob("*.ima"))):
        image = pydicom.dcmread(path)
        change(image)
        image.save_as(path)
    return copy


def first_file(path):
    return path.match("0007/*/T2_0/*_0002_001.ima")  # slice 2 of 4: in both samples of its disc


@pytest.mark.slow
def test_it_has_a_row_per_sample_and_the_hash_of_what_was_acquired(site, table):
    folder, data = site
    assert list(table.columns) == card.COLUMNS and len(table) == len(data.samples) == 12
    assert table[card.KEY].apply(tuple, axis=1).is_unique and set(table.study) == {1, 2}
    row = table[(table.patient == "0007") & (table.level == "L5-S1") & (table.part == 1)].iloc[0]
    digests = ""
    for number in (2, 3, 4):
        path = folder / "0007" / "L-SPINE_C_2016" / "T2_0" / f"T2_TSE_TRA__{number:04d}_001.ima"
        pixels = pydicom.dcmread(path).pixel_array.astype("<f4").tobytes()
        digests += hashlib.sha256(b"32 x 24, 0.6875 x 0.6875 mm;" + pixels).hexdigest()
    assert row.pixels == hashlib.sha256(digests.encode()).hexdigest()


@pytest.mark.slow
def test_the_same_data_give_the_same_bytes(site, table, tmp_path):
    folder, data = site
    card.write_manifest(tmp_path / "a.csv", table)
    shuffled = replace(data, samples=data.samples.sample(frac=1, random_state=1).reset_index(drop=True))
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere")
    card.write_manifest(tmp_path / "b.csv", card.manifest(elsewhere, shuffled))
    content = (tmp_path / "a.csv").read_bytes()
    assert (tmp_path / "b.csv").read_bytes() == content
    digests = {card.digest(table), card.digest(card.read_manifest(tmp_path / "b.csv"))}
    assert digests == {hashlib.sha256(content).hexdigest()}
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["a.csv", "b.csv"]


@pytest.mark.slow
def test_anonymous_headers_and_lossless_compression_change_nothing(site, table, tmp_path):
    def change(image):
        image.PatientName = None
        image.compress(RLELossless)

    copy = rewritten(site[0], tmp_path / "copy", change)
    assert any(SECRET.encode() in path.read_bytes() for path in site[0].rglob("*.ima"))
    assert not any(SECRET.encode() in path.read_bytes() for path in copy.rglob("*.ima"))
    assert card.compare_manifests(table, card.manifest(copy, build(copy))) == []


def test_no_name_study_folder_or_path_is_in_it(site, table, tmp_path):
    card.write_manifest(tmp_path / "manifest.csv", table)
    text = (tmp_path / "manifest.csv").read_text()
    assert not re.search(r"MUSTER|L-SPINE|2016|\.ima|archive|1\.2\.|/", text)
    assert text.count("test, data") == len(table)  # no row without the data's label


def brighter(image):
    pixels = image.pixel_array.copy()
    pixels[5, 7] ^= 1
    image.PixelData = pixels.tobytes()


def wider(image):
    image.PixelSpacing = [0.6875, 0.688]


def turned(image):
    image.Rows, image.Columns = image.Columns, image.Rows


@pytest.mark.slow
@pytest.mark.parametrize("change", [brighter, wider, turned])
def test_a_changed_slice_is_found(site, table, tmp_path, change):
    copy = rewritten(site[0], tmp_path / "copy", change, first_file)
    [line] = card.compare_manifests(table, card.manifest(copy, replace(site[1], slices=build(copy).slices)))
    assert line == "2 differ in pixels: 0007 study 1 L5-S1 part 0, 0007 study 1 L5-S1 part 1"


def test_the_order_of_the_slices_counts(site, table):
    samples = site[1].samples.rename(columns={"slice_1": "slice_3", "slice_3": "slice_1"})
    other = card.manifest(site[0], replace(site[1], samples=samples))
    assert (other.pixels != table.pixels).all()


def test_a_slice_that_is_gone_is_one_sentence(site, tmp_path):
    copy = shutil.copytree(site[0], tmp_path / "copy")
    next(path for path in copy.rglob("*.ima") if first_file(path)).unlink()
    with pytest.raises(UserError, match=r"T2_TSE_TRA__0002_001.ima can no longer be read: run"):
        card.manifest(copy, site[1])


def test_the_facts_name_the_data_and_the_digest(site, table):
    facts = card.facts(site[1], table).set_index("what").value
    assert facts["data"] == "test, data" and facts["fingerprint"] == "f" * 16
    assert facts["patients"] == "2" and facts["studies"] == "3" and facts["disc samples"] == "12 of 2 patients"
    assert facts["abnormal samples"].startswith("6 (50.0%") and card.digest(table) in set(facts)


# Comparing two


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_every_planted_difference_is_named_and_nothing_else(seed, table):
    rng = np.random.default_rng(seed)
    first = table.astype(str)
    second = first.copy()
    expected = Counter()
    chosen = rng.permutation(len(table))[: rng.integers(0, 6)]
    gone = []
    for row in chosen:
        what = rng.choice(["pixels", "label", "split_paper", "split_patient", "gone"])
        if what == "gone":
            gone.append(row)
            expected["only in the first"] += 1
        else:
            second.loc[row, what] = "changed"
            expected[f"differ in {card.COMPARED[what]}"] += 1
    second = second.drop(index=gone).sample(frac=1, random_state=seed)
    lines = card.compare_manifests(first, second)
    found = {re.match(r"\d+ ([^:]+):", line)[1]: int(line.split()[0]) for line in lines}
    assert found == expected
    named = set(re.findall(r"(\d{4}) study (\d) (\S+) part (\d)", " ".join(lines)))
    assert named == {tuple(first.loc[row, card.KEY]) for row in chosen}
    assert bool(lines) == (card.digest(first) != card.digest(second.sort_index()))
    mirrored = [line.replace("in the first", "in the second") for line in lines]
    assert sorted(card.compare_manifests(second, first)) == sorted(mirrored)


def test_twins_and_other_data_are_told(table):
    first = table.astype(str)
    doubled = pd.concat([first, first.iloc[:1]])
    assert card.compare_manifests(doubled, doubled) == []
    assert card.compare_manifests(doubled, first) == ["1 only in the first: 0001 study 1 L4-L5 part 0"]
    [line] = card.compare_manifests(first, first.assign(data="phantom"))
    assert "'test, data'" in line and "'phantom'" in line


def test_long_lists_are_cut_with_their_number(table):
    [line] = card.compare_manifests(table.astype(str), table.astype(str).assign(label="1 "))
    assert line.startswith("12 differ in label: ") and line.endswith("and 2 more") and line.count("study") == 10


def command(*manifests) -> int:
    """``lhdlib compare`` on two manifests."""
    parser = argparse.ArgumentParser()
    card.add_arguments(parser)
    return card.run(parser.parse_args([str(path) for path in manifests]))


def test_the_command(table, tmp_path, capsys):
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path, labels in zip(paths, (table.label, 1 - table.label), strict=True):
        card.write_manifest(path, table.assign(label=labels))
    assert command(paths[0], paths[0]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "The same dataset: samples, pixels, labels and splits agree." and len(out) == 3
    assert f"12 samples, digest {card.digest(table)[:16]}, data: test, data" in out[0]
    assert command(*paths) == 1
    assert "12 differ in label: 0001 study 1" in capsys.readouterr().out


def not_there(path, content):
    pass


def other_columns(path, content):
    path.write_bytes(content.replace(b"pixels", b"pixel"))


def garbage(path, content):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def empty(path, content):
    path.write_bytes(b"")


def too_large(path, content):
    path.write_bytes(content)
    with path.open("r+b") as stream:
        stream.truncate(card.MAX_BYTES + 1)  # a hole: takes no space


@pytest.mark.parametrize("spoil", [not_there, other_columns, garbage, empty, too_large])
def test_what_is_no_manifest_is_one_sentence(table, tmp_path, capsys, spoil):
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    card.write_manifest(good, table)
    spoil(bad, good.read_bytes())
    with pytest.raises(UserError, match=r"bad\.csv .*: name the manifest.csv of notebook 01\.$"):
        command(good, bad)
    assert capsys.readouterr().out == ""


def test_control_characters_do_not_reach_the_terminal(table, tmp_path, capsys):
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    card.write_manifest(paths[0], table)
    card.write_manifest(paths[1], table.assign(patient="\x1b[2J", data="\x1b]0;x\x07"))
    assert command(*paths) == 1
    assert "\x1b" not in capsys.readouterr().out
