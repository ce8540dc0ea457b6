"""Downloads over a connection that drops, refuses, lies and sends too much."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from lhdlib.data import remote
from lhdlib.data.archive import fetch
from tests.data.server import expect, extracted, pack, serve, tree, workbook


@pytest.mark.parametrize("cuts", [[100_000], [300_000, 7, 0, 50_000], [150_000] * 3])
def test_a_dropped_connection_is_resumed_where_it_broke(server, tmp_path, cuts):
    members = tree()
    sources = serve(server, pack(members))
    server.cuts = list(cuts)
    fetch(tmp_path, **sources)
    assert extracted(tmp_path) == members
    requests = [entry for entry in server.log if entry.path == "/images"]
    assert len(requests) == len(cuts) + 1
    assert server.sent() < len(server.files["/images"]) + len(cuts) * remote.CHUNK


def test_a_later_call_goes_on_where_the_first_stopped(server, tmp_path, monkeypatch):
    members = tree()
    sources = serve(server, pack(members))
    size = len(server.files["/images"])
    server.cuts = [300_000, 0, 0, 0, 0]
    with expect(r"does not answer .* start again to go on, or download it in a browser from https://doi.org/"):
        fetch(tmp_path, **sources)
    part = tmp_path / "01_MRI_Data.zip.part"
    assert 300_000 - remote.CHUNK < part.stat().st_size <= 300_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6 + size - 100_000 + 2**28))
    fetch(tmp_path, **sources)  # what is there needs no space again
    assert extracted(tmp_path) == members and not part.exists()
    assert server.sent() < size + remote.CHUNK


def test_without_ranges_the_download_begins_again(server, tmp_path):
    members = tree()
    sources = serve(server, pack(members))
    server.ranges, server.cuts = False, [200_000]
    fetch(tmp_path, **sources)
    assert extracted(tmp_path) == members
    assert server.sent() == len(server.files["/images"]) + 200_000


def test_a_server_without_ranges_that_always_drops_is_given_up(server, tmp_path):
    sources = serve(server, pack(tree()))
    server.ranges, server.cuts = False, [200_000] * 50
    with expect("does not answer"):
        fetch(tmp_path, **sources)
    assert len(server.log) < 10


def test_passing_errors_and_redirections(server, tmp_path):
    sources = serve(server, pack(tree()))
    server.statuses = [503, 429, 500]
    moved = replace(sources["source"], url=f"{server.address}/moved/images")
    assert len(fetch(tmp_path, source=moved, notes=sources["notes"])) == 4


@pytest.mark.parametrize("patients", [None, "1"])
def test_a_refusal_is_final(server, tmp_path, patients):
    sources = serve(server, pack(tree()))
    server.statuses = [403]
    with expect(r"refused .* status 403: download it in a browser .* save it as .*01_MRI_Data\.zip\.$"):
        fetch(tmp_path, patients=patients, **sources)
    assert len(server.log) == 1


@pytest.mark.parametrize("patients", [None, "1"])
def test_no_network(tmp_path, server, patients):
    sources = serve(server, pack(tree()))
    nowhere = replace(sources["source"], url="http://127.0.0.1:9/images")
    with expect(r"does not answer \(ConnectionError\): check the network"):
        fetch(tmp_path, patients=patients, source=nowhere)


@pytest.mark.slow
@pytest.mark.parametrize(
    "lies, reason",
    [
        ({"Content-Range": "bytes 0-9/77"}, "has 77 bytes where"),
        ({"Content-Range": "bytes 0-9/9999999"}, "has 9,999,999 bytes where"),
        ({"Content-Range": "sometimes"}, "does not serve byte ranges"),
        ({"Content-Range": None}, "does not serve byte ranges"),
    ],
)
@pytest.mark.parametrize("patients", [None, "2"])
def test_lies_about_the_size(server, tmp_path, lies, reason, patients):
    sources = serve(server, pack(tree()))
    server.lies = lies
    with expect(reason):
        fetch(tmp_path, patients=patients, **sources)
    assert not extracted(tmp_path)


def test_another_size_without_ranges_is_noticed_before_the_first_byte(server, tmp_path):
    sources = serve(server, pack(tree()))
    server.ranges, server.files["/images"] = False, bytes(10_000_000)
    with expect("has 10,000,000 bytes where"):
        fetch(tmp_path, **sources)
    assert (tmp_path / "01_MRI_Data.zip.part").stat().st_size == 0


def test_a_shorter_or_longer_file_than_announced(server, tmp_path):
    members = tree()
    sources = serve(server, pack(members))
    size = len(server.files["/images"])
    (tmp_path / "longer").mkdir()
    (tmp_path / "longer" / "Radiologists Report.xlsx").write_bytes(workbook())
    server.lies, server.surplus = {"Content-Length": None}, bytes(100_000)
    fetch(tmp_path / "longer", **sources)
    assert extracted(tmp_path / "longer") == members
    server.surplus, server.files["/images"] = b"", server.files["/images"][:-1000]
    server.lies = {"Content-Range": f"bytes 0-{size - 1}/{size}", "Content-Length": str(size)}
    server.cuts = [10**9] * 20
    with expect("does not answer|SHA-256"):
        fetch(tmp_path / "shorter", **sources)
    assert not extracted(tmp_path / "shorter")


def test_a_size_that_the_server_does_not_state(server, tmp_path):
    members = tree()
    sources = serve(server, pack(members))
    server.ranges, server.lies = False, {"Content-Length": None}
    fetch(tmp_path, **sources)
    assert extracted(tmp_path) == members


def test_a_wrong_checksum(server, tmp_path):
    members = tree()
    sources = serve(server, pack(members))
    right = server.files["/images"]
    server.files["/images"] = bytes([right[0] ^ 1]) + right[1:]
    with expect(r"01_MRI_Data\.zip\.part has the SHA-256 .* delete it and start again"):
        fetch(tmp_path, **sources)
    server.log.clear()
    with expect("has the SHA-256"):
        fetch(tmp_path, **sources)
    assert not server.log and not extracted(tmp_path)
    (tmp_path / "01_MRI_Data.zip.part").unlink()
    server.files["/images"] = right
    fetch(tmp_path, **sources)
    assert extracted(tmp_path) == members


def test_a_part_that_is_longer_than_the_file_is_replaced(server, tmp_path):
    members = tree()
    sources = serve(server, pack(members))
    (tmp_path / "01_MRI_Data.zip.part").write_bytes(bytes(len(server.files["/images"]) + 1))
    fetch(tmp_path, **sources)
    assert extracted(tmp_path) == members


@pytest.mark.parametrize("cuts", [[0], [None, 0, None, 3], [None] * 3 + [20_000, 0, 1]])
def test_dropped_connections_while_some_patients_are_read(server, tmp_path, cuts):
    members = tree()
    sources = serve(server, pack(members))
    server.cuts = list(cuts)
    fetch(tmp_path, patients="5", **sources)
    assert extracted(tmp_path) == {n: d for n, d in members.items() if n[12:16] == "0005"}


@pytest.mark.parametrize("fault", [{"ranges": False}, {"shift": 1}, {"shift": 1000}])
def test_ranges_that_are_not_served_or_shifted(server, tmp_path, fault):
    sources = serve(server, pack(tree()))
    vars(server).update(fault)
    with expect("does not serve byte ranges|no ZIP that can be trusted|does not answer"):
        fetch(tmp_path, patients="2-3", **sources)
    assert not extracted(tmp_path)


def test_a_range_that_is_mislabelled(server, tmp_path):
    sources = serve(server, pack(tree()))
    server.lies = {"Content-Range": f"bytes 0-9/{len(server.files['/images'])}"}
    with expect("does not serve byte ranges"):
        fetch(tmp_path, patients="2", **sources)


def test_an_absurd_directory_is_not_read(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "MAX_DIRECTORY", 3000)
    sources = serve(server, pack(tree(files=20)))
    with expect("absurdly large"):
        fetch(tmp_path, patients="1", **sources)
    assert server.sent() < 1000
