"""A published file on a server: byte ranges, resumed downloads, sizes and checksums that are checked."""

import hashlib
import io
import re
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm

from lhdlib import __version__
from lhdlib.errors import UserError
from lhdlib.progress import progress_bar


@dataclass(frozen=True)
class Source:
    """A published file, as third parties state it: nobody here has compared these values with the file itself."""

    doi: str
    url: str
    name: str  #: of the file in the folder
    size: int | None = None  #: bytes; None where nobody states it
    sha256: str | None = None
    unpacked: int = 0  #: bytes, an estimate for the first check of free space


CHUNK = 2**16  # bytes written at once: what a broken connection may cost
TIMEOUT = (15, 60)  # seconds, to connect and between two packets
WAITS = (1, 2, 4, 8, 16)  # seconds before asking again, when nothing came since the last time
MAX_NOTES = 2**24  # bytes
MAX_DIRECTORY = 2**25  # bytes of the ZIP's directory, about 8 MB in the archive


# The connection


class Remote(io.RawIOBase):
    """A file on a server, readable and seekable by byte ranges."""

    def __init__(self, source: Source, target: Path) -> None:
        self.source, self.target, self.size, self.position = source, target, source.size, 0
        self.session = requests.Session()
        self.session.headers.update({"User-Agent": f"lhdlib/{__version__}", "Accept-Encoding": "identity"})

    def stream(self, first: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Bytes from `first` to before `stop` as (offset, chunk); a broken connection is resumed where it broke.

        A server that does not serve ranges begins again at offset 0.
        """
        offset = reached = first
        failures, cause = 0, "it sends nothing"
        while offset < min(stop, self.size or stop):
            before = reached
            try:
                with self.session.get(
                    self.source.url, headers={"Range": f"bytes={offset}-{stop - 1}"}, stream=True, timeout=TIMEOUT
                ) as response:
                    offset = self._start(response)
                    for chunk in response.iter_content(CHUNK):
                        chunk = chunk[: stop - offset]
                        yield offset, chunk
                        offset += len(chunk)
                        reached = max(reached, offset)
                        if offset == stop:
                            return
                    self.size = self.size or offset  # a server may not state it
            except requests.RequestException as error:
                cause = type(error).__name__
            failures = 0 if reached > before else failures + 1
            if failures > len(WAITS):
                raise UserError(
                    f"{self.source.url} does not answer ({cause}): check the network and start again to go on, or "
                    f"{by_hand(self.source, self.target)}."
                )
            if failures:
                tqdm.write(f"No answer ({cause}): asking again in {WAITS[failures - 1]} s.")
                time.sleep(WAITS[failures - 1])

    def _start(self, response: requests.Response) -> int:
        """Offset of the first byte of an answer whose status and stated size are right."""
        status, stated = response.status_code, response.headers.get("Content-Range", "")
        if status == 429 or status >= 500:
            response.raise_for_status()  # passing: asked again
        if status not in (200, 206, 416):
            raise UserError(
                f"The server refused {self.source.url} with status {status}: {by_hand(self.source, self.target)}."
            )
        if status == 200:
            match = re.fullmatch(r"()([0-9]{1,18})", response.headers.get("Content-Length", ""))
        else:
            match = re.fullmatch(r"bytes (?:([0-9]{1,18})-[0-9]+|\*)/(?:([0-9]{1,18})|\*)", stated)
        total = int(match[2]) if match and match[2] else None
        if None not in (self.size, total) and total != self.size:
            raise UserError(
                f"{self.source.url} has {total:,} bytes where {self.size:,} are expected: it is another file than "
                f"lhdlib/data/archive.py states, so {by_hand(self.source, self.target)}."
            )
        if status == 416 or (status == 206 and not (match and match[1])):
            raise self._no_ranges()
        self.size = self.size or total
        return int(match[1]) if status == 206 else 0

    def _no_ranges(self) -> UserError:
        return UserError(
            f"The server of {self.source.url} does not serve byte ranges: fetch the whole archive without --patients, "
            f"or {by_hand(self.source, self.target)}."
        )

    def readinto(self, buffer: Any) -> int:
        done = 0
        for offset, chunk in self.stream(self.position, min(self.position + len(buffer), self.size)):
            if offset != self.position:
                raise self._no_ranges()
            buffer[done : done + len(chunk)] = chunk
            done += len(chunk)
            self.position += len(chunk)
        return done

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        place = offset + (0, self.position, self.size)[whence]
        if place < 0:
            raise OSError(f"no place {place} in a file")  # as zipfile expects of a file that is too short
        self.position = place
        return place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self.session.close()
        super().close()


class Blocks(io.BufferedReader):
    """Reads a remote file in large blocks, so that neighbouring members cost one request, and none without bound."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = max(self.raw.size - self.tell(), 0)  # type: ignore[attr-defined]  # of `Remote`
        if size > MAX_DIRECTORY:
            raise zipfile.BadZipFile("its directory is absurdly large")
        return super().read(size)


def download(source: Source, part: Path, target: Path) -> None:
    """Append to `part` what it lacks; `target` is where a person would put the file."""
    have = part.stat().st_size if part.is_file() else 0
    stop = source.size or MAX_NOTES
    start = have if have <= stop else 0  # longer than the file: something else
    bar = progress_bar(total=source.size, initial=start, unit="B", unit_scale=True, desc=source.name)
    with Remote(source, target) as remote, part.open("r+b" if have else "wb") as file, bar:
        for offset, chunk in remote.stream(start, stop):
            file.seek(offset)
            file.truncate()
            file.write(chunk)
            bar.update(offset + len(chunk) - bar.n)


def verify(source: Source, path: Path) -> None:
    """Compare size and SHA-256."""
    size, digest = path.stat().st_size, hashlib.sha256()
    if size != source.size:
        raise UserError(f"{path} has {size:,} bytes where {source.size:,} are expected: delete it and start again.")
    with path.open("rb") as file, progress_bar(total=size, unit="B", unit_scale=True, desc="checksum") as bar:
        while chunk := file.read(2**20):
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != source.sha256:
        raise UserError(
            f"{path} has the SHA-256 {digest.hexdigest()} and not the stated {source.sha256}: delete it and start "
            f"again, or, if https://doi.org/{source.doi} shows the first, correct it in lhdlib/data/archive.py."
        )


def by_hand(source: Source, target: Path) -> str:
    """How to get a file without this program, as the end of a sentence."""
    return f"download it in a browser from https://doi.org/{source.doi} and save it as {target}"
