"""Fetching the archive from a loopback server: whole, some patients, interrupted, and out of hostile ZIPs."""

import argparse
import hashlib
import io
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lhdlib.data import archive, dataset, remote
from lhdlib.data.archive import fetch
from lhdlib.data.remote import Source
from lhdlib.errors import UserError
from lhdlib.phantom.archive import write_phantom
from tests.data.server import expect, extracted, pack, serve, tree, workbook

README = Path(__file__).resolve().parents[2] / "README.md"

# The whole archive


def command(monkeypatch, sources, *arguments) -> int:
    """``lhdlib fetch`` with these arguments, from these sources."""
    monkeypatch.setattr(archive, "ARCHIVE", sources["source"])
    monkeypatch.setattr(archive, "NOTES", sources["notes"])
    parser = argparse.ArgumentParser()
    archive.add_arguments(parser)
    return archive.run(parser.parse_args([str(argument) for argument in arguments]))


def test_the_whole_archive(server, tmp_path, capsys, monkeypatch):
    members = tree()
    sources = serve(server, pack(members))
    assert fetch(tmp_path, **sources) == ["0001", "0002", "0003", "0005"]
    assert extracted(tmp_path) == members
    assert {p.name for p in tmp_path.iterdir()} == {"01_MRI_Data", "Radiologists Report.xlsx", ".fetch"}
    assert (tmp_path / "Radiologists Report.xlsx").read_bytes() == server.files["/notes"]
    assert server.sent() == len(server.files["/images"])
    assert "checksum: 100%" in capsys.readouterr().out

    server.log.clear()
    assert command(monkeypatch, sources, tmp_path, "--patients", "1-3") == 0
    assert command(monkeypatch, sources, tmp_path) == 0
    assert not server.log
    out = capsys.readouterr().out
    assert f"{tmp_path} holds 4 patients (1-3, 5)" in out
    assert f"./run_all.sh --profile smoke --data {tmp_path}" in out


def test_a_deleted_or_cut_file_is_fetched_again(server, tmp_path):
    members = tree()
    sources = serve(server, pack(members))
    fetch(tmp_path, **sources)
    deleted, cut = (tmp_path / name for name in list(members)[:2])
    deleted.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    assert fetch(tmp_path, patients="2", **sources) == ["0002", "0003", "0005"]
    assert fetch(tmp_path, patients="1", **sources) == ["0001", "0002", "0003", "0005"]
    assert extracted(tmp_path) == members


@pytest.mark.parametrize("patients", [None, "2-3"])
def test_files_put_there_by_hand_are_used(server, tmp_path, patients):
    members = tree()
    sources = serve(server, pack(members))
    (tmp_path / "01_MRI_Data.zip").write_bytes(server.files["/images"])
    (tmp_path / "Radiologists Report.xlsx").write_bytes(workbook())
    fetch(tmp_path, patients=patients, **sources)
    assert not server.log
    wanted = members if patients is None else {n: d for n, d in members.items() if n[12:16] in ("0002", "0003")}
    assert extracted(tmp_path) == wanted


@pytest.mark.parametrize("spoil, reason", [(lambda b: b + b"1", "bytes are expected"), (lambda b: b[::-1], "SHA-256")])
def test_a_wrong_zip_put_there_by_hand(server, tmp_path, spoil, reason):
    sources = serve(server, pack(tree()))
    (tmp_path / "01_MRI_Data.zip").write_bytes(spoil(server.files["/images"]))
    with expect(reason.replace("bytes are", "bytes where .* are")):
        fetch(tmp_path, **sources)
    assert not server.log


# Some patients


@pytest.mark.slow
def test_only_the_wanted_patients_are_sent(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(archive, "BLOCK", 2**15)
    members = tree(range(1, 41), files=10)
    sources = serve(server, pack(members))
    size = len(server.files["/images"])
    assert fetch(tmp_path, patients="2-3", **sources) == ["0002", "0003"]
    assert extracted(tmp_path) == {n: d for n, d in members.items() if n[12:16] in ("0002", "0003")}
    assert server.sent() < 0.07 * size  # 5 % is theirs, and there is the directory
    assert not (tmp_path / "01_MRI_Data.zip").exists()

    assert fetch(tmp_path, patients="3,30-31", **sources) == ["0002", "0003", "0030", "0031"]
    assert server.sent() < 0.14 * size
    server.log.clear()
    assert fetch(tmp_path, patients="2,3,30", **sources) == ["0002", "0003", "0030", "0031"]
    assert not server.log


def test_neighbouring_members_share_requests_in_whatever_order_the_directory_is(server, tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in tree(range(1, 11), files=20).items():
            packed.writestr(name, data)
        packed.filelist.reverse()
    fetch(tmp_path, patients="3-4", **serve(server, file.getvalue()))
    assert sum(entry.path == "/images" for entry in server.log) <= 6  # for 40 files and the directory


def test_an_archive_beyond_4_gib(server, tmp_path):
    """Real offsets: a virtual file whose members lie behind 5 GiB of nothing."""
    shift = 5 * 2**30

    class Shifted(io.BytesIO):
        def tell(self):
            return super().tell() + shift

        def seek(self, place, whence=0):
            return super().seek(place - shift if whence == 0 else place, whence) + shift

    class Virtual:
        def __init__(self, tail):
            self.tail = tail

        def __len__(self):
            return shift + len(self.tail)

        def __getitem__(self, place):
            zeros = bytes(max(min(place.stop, shift) - place.start, 0))
            return zeros + self.tail[max(place.start - shift, 0) : max(place.stop - shift, 0)]

    members = tree()
    sources = serve(server, Virtual(pack(members, file=Shifted())))
    assert fetch(tmp_path, patients="2-5", **sources) == ["0002", "0003", "0005"]
    assert all(members[name] == data for name, data in extracted(tmp_path).items())


def test_a_range_may_have_gaps_but_not_be_empty(server, tmp_path, capsys):
    sources = serve(server, pack(tree()))
    assert fetch(tmp_path, patients="2-5", **sources) == ["0002", "0003", "0005"]
    assert "The archive has no patients 4." in capsys.readouterr().out
    for wanted, name in [("1,4", "patient 4"), ("6-9", "patient from 6 to 9"), ("4", "patient 4")]:
        with expect(f"The archive has no {name}: choose among its 4 patients, 1-3, 5"):
            fetch(tmp_path, patients=wanted, **sources)
    with expect("no patient 7"):
        fetch(tmp_path / "new", patients="7", **sources)


@pytest.mark.parametrize(
    "text", ["", "x", "3-1", "1-", "-1", "0", "0-3", "1,,2", "1;2", "1.5", "12345", "1-99999", "²"]
)
def test_patients_that_cannot_be_read(server, tmp_path, text, monkeypatch):
    sources = serve(server, pack(tree()))
    with expect(r"^--patients .* write it as 1-20,30\.$"):
        command(monkeypatch, sources, tmp_path, f"--patients={text}")
    assert not server.log


def test_lists_of_patients_read_as_written():
    rng = np.random.default_rng(0)
    for _ in range(200):
        numbers = set(rng.integers(1, 60, rng.integers(1, 40)).tolist())
        assert set().union(*archive.parse_patients(archive.runs(numbers))) == numbers


# Disk


@pytest.mark.parametrize("patients", [None, "1-3"])
def test_too_little_disk_is_noticed_before_the_first_byte(server, tmp_path, monkeypatch, patients):
    sources = serve(server, pack(tree()))
    sources["source"] = replace(sources["source"], unpacked=10**12)
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with expect(r"has 1\.0 GB of free space and .* GB are needed"):
        fetch(tmp_path, patients=patients, **sources)
    assert not server.log


@pytest.mark.parametrize("patients", [None, "1-3"])
def test_too_little_disk_for_what_the_directory_states(server, tmp_path, monkeypatch, patients):
    sources = serve(server, pack(tree()), unpacked=0)
    monkeypatch.setattr(remote, "download", lambda _, part, __: part.write_bytes(server.files["/images"]))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**28 + 100_000))
    monkeypatch.setattr(archive, "_check_space", flaky_first(archive._check_space))
    with expect("of free space and 0.[67] GB|of free space and 0.3 GB"):
        fetch(tmp_path, patients=patients, **sources)
    assert not extracted(tmp_path)


def flaky_first(function):
    """Skips the first call: the estimate, so that the exact check is what refuses."""
    calls = []
    return lambda *a: function(*a) if calls else calls.append(a)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    sources = serve(server, pack(tree()))
    (tmp_path / "file").write_text("")
    with expect("cannot be read or written"):
        fetch(tmp_path / "file", **sources)


# Interruptions


@pytest.mark.slow
def test_a_killed_extraction_goes_on(server, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "BLOCK", 2**14)
    members = tree(files=40)
    sources = serve(server, pack(members))
    server.hold_from = 40
    code = "import sys; from lhdlib.data import archive as a; a.BLOCK = 2**14; a.fetch(sys.argv[1], patients='1-5', "
    code += f"source=a.{sources['source']!r}, notes=a.{sources['notes']!r})"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.DEVNULL)
    assert server.held.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    before = extracted(tmp_path)
    assert 0 < len(before) < len(members)
    assert all(members[name] == data for name, data in before.items())  # whole files only

    server.hold_from = 0
    server.released.set()
    server.log.clear()
    fetch(tmp_path, patients="1-5", **sources)
    assert extracted(tmp_path) == members
    assert server.sent() < sum(len(d) for n, d in members.items() if n not in before) * 1.02 + 40_000


@pytest.mark.parametrize("patients", [None, "1-5"])
def test_an_interrupted_extraction_writes_the_rest_only(server, tmp_path, monkeypatch, patients):
    members = tree()
    sources = serve(server, pack(members))
    rename, written = archive.os.replace, []

    def interrupting(old, new):
        if Path(new).suffix == ".ima":
            written.append(Path(new).name)
            if len(written) == 11:
                raise KeyboardInterrupt
        rename(old, new)

    monkeypatch.setattr(archive.os, "replace", interrupting)
    arguments = [tmp_path, *(["--patients", patients] if patients else [])]
    with pytest.raises(KeyboardInterrupt):
        command(monkeypatch, sources, *arguments)
    assert len(extracted(tmp_path)) == 10
    server.log.clear()
    assert command(monkeypatch, sources, *arguments) == 0
    assert extracted(tmp_path) == members
    assert len(written) == len(members) + 1  # the eleventh twice
    if patients is None:
        assert server.sent() == 0  # the ZIP was still there


def test_two_fetches_do_not_write_to_one_folder(server, tmp_path):
    sources = serve(server, pack(tree()))
    with archive._locked(tmp_path), expect("Another fetch is writing"):
        fetch(tmp_path, **sources)
    assert not server.log


# Hostile and damaged ZIPs


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def device(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFIFO | 0o600) << 16
    return info


def patched(zipped: bytes, offset: int, form: str, value: int, local: int | None = None) -> bytes:
    """Change a field of the last member's directory entry (and of its local header)."""
    data = bytearray(zipped)
    struct.pack_into(form, data, data.rindex(b"PK\1\2") + offset, value)
    if local is not None:
        struct.pack_into(form, data, data.rindex(b"PK\3\4") + local, value)
    return bytes(data)


LAST = "01_MRI_Data/0005/study/series/last.ima"
SMALL = tree(files=2)
BODY = np.random.default_rng(1).bytes(5000)
PLAIN = pack({**SMALL, LAST: BODY}, limit=2**31)  # without ZIP64 records, so that fields can be changed in place
HOSTILE = {
    "up": pack({**SMALL, "../evil.ima": BODY}),
    "up inside": pack({**SMALL, "01_MRI_Data/0001/../../../evil.ima": BODY}),
    "absolute": pack({**SMALL, "/tmp/evil.ima": BODY}),
    "drive": pack({**SMALL, "C:/evil.ima": BODY}),
    "backslash": pack({**SMALL, "01_MRI_Data/0001/..\\..\\evil.ima": BODY}),
    "dot": pack({**SMALL, "01_MRI_Data/./0001/evil.ima": BODY}),
    "empty part": pack({**SMALL, "01_MRI_Data//0001/evil.ima": BODY}),
    "zero byte": pack({**SMALL, "01_MRI_Data/0001/evil_ima": BODY}).replace(b"evil_ima", b"evil\0ima"),
    "line feed": pack({**SMALL, "01_MRI_Data/0001/evil\nima": BODY}),
    "long name": pack({**SMALL, f"01_MRI_Data/0001/{'x' * 300}": BODY}),
    "folder up": pack({**SMALL, "01_MRI_Data/../../evil/": b""}),
    "link": pack({**SMALL, link("01_MRI_Data/0001/evil.ima"): b"/etc/passwd"}),
    "link as folder": pack({**SMALL, link("01_MRI_Data/0009"): b"../..", "01_MRI_Data/0009/evil.ima": BODY}),
    "device": pack({**SMALL, device("01_MRI_Data/0001/evil.ima"): b""}),
    "same name": pack({**SMALL, zipfile.ZipInfo(next(iter(SMALL))): BODY}),
    "same name but for case": pack({**SMALL, next(iter(SMALL)).upper().replace("01_MRI_DATA", "01_MRI_Data"): BODY}),
    "file as folder": pack({**SMALL, next(iter(SMALL)) + "/evil.ima": BODY}),
    "encrypted": patched(PLAIN, 8, "<H", 1, local=6),
    "bzip2": pack({**SMALL, LAST: BODY}, zipfile.ZIP_BZIP2),
    "unknown method": patched(PLAIN, 10, "<H", 99, local=8),
    "bomb": pack({**SMALL, LAST: bytes(20_000_000)}),
    "bomb of many": pack({**SMALL, **{f"01_MRI_Data/0005/{n}": bytes(1_000_000) for n in range(30)}}),
    "huge member": pack({**tree(files=1, size=3_000_000), LAST: bytes(2**26 + 1)}),
    "offset beyond the end": patched(PLAIN, 42, "<L", 2**31),
    "another layout": pack({"images/0001/a.ima": BODY, "01_MRI_DATA/0001/a.ima": BODY, "01_MRI_Data/x/a.ima": BODY}),
    "empty": pack({}),
    "no ZIP": b"<html>" + bytes(5000),
    "cut": PLAIN[:-30],
    "locator without record": struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1) + b"PK\5\6" + bytes(18),
    "beginning cut off": PLAIN[2000:],
}
DAMAGED = {
    "one bit": PLAIN.replace(BODY[2000:2010], bytes([BODY[2000] ^ 4]) + BODY[2001:2010]),
    "checksum": patched(PLAIN, 16, "<L", 12345),
    "more than stated": patched(PLAIN, 24, "<L", 100),
    "less than stated": patched(PLAIN, 24, "<L", 9000),
    "packed size": patched(PLAIN, 20, "<L", 700),
    "local header": PLAIN[: PLAIN.rindex(b"PK\3\4")] + b"XX" + PLAIN[PLAIN.rindex(b"PK\3\4") + 2 :],
    "local name": PLAIN[: PLAIN.rindex(b"last.ima") - 2000].replace(b"last.ima", b"evil.ima", 1)
    + PLAIN[PLAIN.rindex(b"last.ima") - 2000 :],
}


@pytest.mark.slow
@pytest.mark.parametrize("patients", [None, "1-9"], ids=["whole", "ranges"])
@pytest.mark.parametrize("kind", [*HOSTILE, *DAMAGED])
def test_a_hostile_or_damaged_zip_is_refused(server, tmp_path, kind, patients):
    zipped = (HOSTILE | DAMAGED)[kind]
    assert zipped != PLAIN
    folder = tmp_path / "a" / "b" / "target"
    with expect("no ZIP that can be trusted"):
        fetch(folder, patients=patients, **serve(server, zipped))
    files = extracted(folder)
    assert all(SMALL.get(name) == data for name, data in files.items())
    assert kind in DAMAGED or not files
    outside = {p for p in tmp_path.rglob("*") if folder not in (p, *p.parents) and p not in folder.parents}
    assert not outside and not any(p.is_symlink() for p in folder.rglob("*"))
    assert sum(p.stat().st_size for p in folder.rglob("*")) < 3 * len(zipped) + 100_000


def test_the_undamaged_zip_is_accepted(server, tmp_path):
    fetch(tmp_path, **serve(server, PLAIN))
    assert extracted(tmp_path) == {**SMALL, LAST: BODY}


def test_other_files_in_the_zip_are_named_and_left_out(server, tmp_path, capsys):
    members = tree()
    others = {"readme.txt": BODY, "__MACOSX/01_MRI_Data/0001/._a.ima": BODY}
    fetch(tmp_path, **serve(server, pack({"01_MRI_Data/": b"", **others, **members})))
    assert extracted(tmp_path) == members
    assert "2 other files of the ZIP are left out, such as 'readme.txt'." in capsys.readouterr().out


@pytest.mark.slow
def test_mutated_zips_never_raise_anything_else(tmp_path):
    """Whatever bytes change: a sentence, or files that are as they were."""
    rng = np.random.default_rng(3)
    members = tree((1, 2), files=2, size=300)
    zipped = pack(members)
    outcomes = {"refused": 0, "whole": 0}
    for round_ in range(300):
        data = bytearray(zipped)
        start = len(data) if round_ % 2 else data.index(b"PK\1\2")  # every other round: the directory alone
        for place in rng.integers(0 if round_ % 2 else start, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(256)
        if round_ % 7 == 0:
            del data[rng.integers(len(data)) :]
        folder = tmp_path / str(round_)
        folder.mkdir()
        (folder / "01_MRI_Data.zip").write_bytes(data)
        (folder / "notes").write_bytes(b"")
        source = Source("", "", "01_MRI_Data.zip", len(data), hashlib.sha256(data).hexdigest())
        try:
            fetch(folder, source=source, notes=Source("", "", "notes"))
            outcomes["whole"] += 1
        except UserError:
            outcomes["refused"] += 1
        assert set(extracted(folder).values()) <= set(members.values())
        assert not [p for p in tmp_path.iterdir() if not p.name.isdigit()]
        shutil.rmtree(folder)
    assert min(outcomes.values()) > 10


# The notes


@pytest.mark.parametrize(
    "content", [b"<html>Please log in</html>", b"", pack({"a": b"b"}), b"PK" + bytes(remote.MAX_NOTES + 10)]
)
def test_what_is_no_workbook_does_not_become_the_notes(server, tmp_path, content):
    members = tree()
    sources = serve(server, pack(members))
    server.files["/notes"] = content
    by_hand = (
        r"download it in a browser from https://doi\.org/10\.0/notes and save it as .*Radiologists Report\.xlsx\.$"
    )
    with expect(by_hand):
        fetch(tmp_path, **sources)
    assert extracted(tmp_path) == members and not (tmp_path / "Radiologists Report.xlsx").exists()
    assert server.sent("/notes") <= remote.MAX_NOTES

    server.log.clear()
    (tmp_path / "Radiologists Report.xlsx").write_bytes(workbook())
    fetch(tmp_path, **sources)
    assert not server.log


def test_both_sources_are_kept_in_one_place():
    assert archive.NOTES.name == dataset.NOTES_NAME
    assert re.fullmatch("[0-9a-f]{64}", archive.ARCHIVE.sha256) and archive.ARCHIVE.size == 6_270_535_053
    for source, number in [(archive.ARCHIVE, "k57fr854j2"), (archive.NOTES, "s6bgczr8s2")]:
        assert source.doi == f"10.17632/{number}.2"
        assert source.url.startswith(f"https://data.mendeley.com/public-files/datasets/{number}/files/")


def test_the_next_command_fits_the_number_of_patients():
    assert archive.next_command(Path("a b"), 515) == "./run_all.sh --profile demo --data 'a b'"
    few = re.fullmatch(
        r"\./run_all\.sh --profile smoke --data d  \(--profile demo needs about (\d+) patients\)",
        archive.next_command(Path("d"), 3),
    )
    assert "demo" in archive.next_command(Path("d"), int(few[1])).split()
    advised = re.search(r"fetch DIR --patients 1-(\d+)", README.read_text(encoding="utf-8"))
    assert 30 < int(few[1]) <= int(advised[1])


# From end to end


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Files of a phantom archive, the workbook apart, and its ZIP."""
    folder = write_phantom(tmp_path_factory.mktemp("original") / "phantom", 2, seed=5)
    files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    book = files.pop("Radiologists Report.xlsx")
    return files, book, pack(files)


@pytest.mark.slow
@pytest.mark.parametrize("patients", [None, "1-99"])
def test_a_phantom_archive_arrives_byte_for_byte(server, original, tmp_path, patients):
    files, book, zipped = original
    sources = serve(server, zipped)
    server.files["/notes"] = book
    assert len(fetch(tmp_path, patients=patients, **sources)) == 2
    assert extracted(tmp_path) == files
    assert dataset.find_notes(tmp_path).read_bytes() == book
