"""A loopback server that serves ranges, drops and lies, and an archive to fetch from it."""

import contextlib
import hashlib
import io
import re
import warnings
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openpyxl
import pytest

from lhdlib.data.remote import Source
from lhdlib.errors import UserError

STUDY = "L-SPINE_LSS_20160309_091629_240000"


class Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

    def do_GET(self):
        server = self.server
        with server.lock:
            status = server.statuses.pop(0) if server.statuses else 200
            cut = server.cuts.pop(0) if server.cuts else None
            entry = SimpleNamespace(path=self.path, sent=0)
            server.log.append(entry)
            number = len(server.log)
        if server.hold_from and number >= server.hold_from:
            server.held.set()
            server.released.wait(30)
        if self.path.startswith("/moved"):
            return self._answer(302, b"", {"Location": self.path.removeprefix("/moved")})
        body = server.files.get(self.path)
        if body is None or status >= 400:
            return self._answer(404 if body is None else status, b"", {})
        first, last, headers = 0, len(body) - 1, {}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and server.ranges:
            first, last = int(asked[1]), min(int(asked[2] or last), last)
            if first > last:
                return self._answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            status, headers = 206, {"Content-Range": f"bytes {first}-{last}/{len(body)}"}
        shift = server.shift if asked else 0
        data = body[max(first - shift, 0) : last + 1 - shift]
        self._answer(status, data + server.surplus, headers | server.lies, cut, entry)

    def _answer(self, status, data, headers, cut=None, entry=None):
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            if value is not None:
                self.send_header(name, value)
        if headers.get("Content-Length", "") is None or cut is not None:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if entry:
            entry.sent = len(data[:cut])
        self.wfile.write(data[:cut])

    def handle(self):
        with contextlib.suppress(ConnectionError):  # the client had enough
            super().handle()

    def log_message(self, *_):
        pass


def tree(patients=(1, 2, 3, 5), files=6, size=20_000, seed=0) -> dict[str, bytes]:
    """Members of an archive in the public one's layout: random bytes, which do not shrink."""
    rng = np.random.default_rng(seed)
    return {
        f"01_MRI_Data/{p:04d}/{STUDY}/T2_TSE_TRA_384_0004/T2_TSE_TRA__{p:04d}_{n:03d}.ima": rng.bytes(size + 7 * n)
        for p in patients
        for n in range(files)
    }


def pack(members: dict[str | zipfile.ZipInfo, bytes], method=zipfile.ZIP_DEFLATED, file=None, limit=1000) -> bytes:
    """A ZIP with ZIP64 records for everything beyond `limit`, as the public archive has them for its size."""
    limit, zipfile.ZIP64_LIMIT = zipfile.ZIP64_LIMIT, limit
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of duplicate names
            file = file or io.BytesIO()
            with zipfile.ZipFile(file, "w", method) as packed:
                for name, data in members.items():
                    packed.writestr(name, data)
    finally:
        zipfile.ZIP64_LIMIT = limit
    return file.getvalue()


def workbook() -> bytes:
    book, file = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["Patient ID", "Clinician's Notes"])
    book.save(file)
    return file.getvalue()


def serve(server, zipped, **changes) -> dict[str, Source]:
    """Put a ZIP and a workbook on the server; the sources to fetch them from."""
    server.files |= {"/images": zipped, "/notes": workbook()}
    digest = hashlib.sha256(zipped).hexdigest() if isinstance(zipped, bytes) else None
    images = Source("10.0/images", f"{server.address}/images", "01_MRI_Data.zip", len(zipped), digest, 10**6)
    return {
        "source": replace(images, **changes),
        "notes": Source("10.0/notes", f"{server.address}/notes", "Radiologists Report.xlsx"),
    }


def extracted(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.glob("01_MRI_Data/**/*") if p.is_file()}


def expect(reason: str):
    return pytest.raises(UserError, match=reason)
