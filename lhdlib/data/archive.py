"""Fetches the public archive of the paper's images and the radiologists' notes: whole, or some patients only.

    lhdlib fetch DIR [--patients 1-100]

What a server sends is not trusted: sizes, checksums, names and expansion are checked before a file gets its name.
"""

import argparse
import contextlib
import math
import os
import re
import shlex
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath

import filelock

from lhdlib import paper
from lhdlib import profile as profiles
from lhdlib.data.remote import CHUNK, Blocks, Remote, Source, by_hand, download, verify
from lhdlib.errors import UserError
from lhdlib.files import read_json, write_json
from lhdlib.progress import progress_bar

#: Lumbar Spine MRI Dataset, version 2, CC BY 4.0. About 48,345 files of 0.33 MB when unpacked.
ARCHIVE = Source(
    doi="10.17632/k57fr854j2.2",
    url="https://data.mendeley.com/public-files/datasets/k57fr854j2/files/"
    "eab74360-db27-4ec5-ade3-7b1b8d88e2db/file_downloaded",
    name="01_MRI_Data.zip",
    size=6_270_535_053,
    sha256="ac6495c243c3e95a820b16bc751063e75f7d90e1d3ef22170f925a2448eadc1a",
    unpacked=16_000_000_000,
)
#: Radiologists Notes for Lumbar Spine MRI Dataset, version 2, CC BY 4.0.
NOTES = Source(
    doi="10.17632/s6bgczr8s2.2",
    url="https://data.mendeley.com/public-files/datasets/s6bgczr8s2/files/"
    "ed86d033-5078-4658-948f-94c13e8b2291/file_downloaded",
    name="Radiologists Report.xlsx",
)

LAYOUT = re.compile(r"01_MRI_Data/(\d{4})/.+", re.ASCII)  # members of the ZIP that are a patient's files
WORK = ".fetch"  # in the target: lock, the file being written, and what the ZIP holds
BLOCK = 2**22  # bytes asked for at once when only some patients are wanted
MAX_MEMBER = 2**26  # bytes; a slice of the archive has 0.3 MB
MAX_EXPANSION = 10  # all members together, relative to the ZIP; MR images shrink two- to threefold
UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError, RuntimeError)


def fetch(
    folder: str | Path, *, patients: str | None = None, source: Source = ARCHIVE, notes: Source = NOTES
) -> list[str]:
    """Bring the archive into a folder, as ``--data`` expects it; goes on where an earlier call stopped.

    Parameters
    ----------
    folder
        A ZIP or workbook that lies there under its source's name is used.
    patients
        Such as ``"1-20,30"``: these alone, by byte ranges; by default the whole ZIP.

    Returns
    -------
    list of str
        Patients that are whole in `folder`.

    Raises
    ------
    UserError
        For a failing connection, a wrong checksum, a hostile or damaged ZIP, a full disk, unknown patients, or another
        fetch in the same folder.
    """
    folder = Path(folder).expanduser().absolute()
    spans = None if patients is None else parse_patients(patients)
    try:
        members = _known_members(folder, source)
        if members is None or _missing(folder, choose(members, spans)):
            with _locked(folder):
                members = _fetch_images(folder, spans, source)
        if not (folder / notes.name).is_file():
            with _locked(folder):
                _fetch_notes(folder, notes)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder} cannot be read or written ({error.strerror}): mend that and start again."
        ) from error
    incomplete = {patient_of(name) for name in _missing(folder, members)}
    return sorted({patient_of(name) for name in members} - incomplete)


def parse_patients(text: str) -> list[range]:
    """Patient numbers as ``1-20,30``.

    Raises
    ------
    UserError
        For anything else.
    """
    spans = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,4})(?:\s*-\s*([0-9]{1,4}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise UserError(f"--patients {text!r} is not a list of numbers and rising ranges: write it as 1-20,30.")
        spans.append(range(first, last + 1))
    return spans


def patient_of(name: str) -> str:
    """Patient of a member in the archive's layout: its folder of four digits."""
    return name.split("/")[1]


def choose(members: Mapping[str, int], spans: Sequence[range] | None) -> dict[str, int]:
    """Those of `members` (name to size) that belong to the wanted patients; all when `spans` is None.

    A range may have gaps, as the archive's numbers do.

    Raises
    ------
    UserError
        When the archive has nobody of a span.
    """
    if spans is None:
        return dict(members)
    there = {int(patient_of(name)) for name in members}
    for span in spans:
        if there.isdisjoint(span):
            wanted = f"patient {span[0]}" if len(span) == 1 else f"patient from {span[0]} to {span[-1]}"
            raise UserError(f"The archive has no {wanted}: choose among its {len(there)} patients, {runs(there)}.")
    chosen = set().union(*spans)
    return {name: size for name, size in members.items() if int(patient_of(name)) in chosen}


def runs(numbers: Collection[int]) -> str:
    """Numbers as ``1-20, 30``."""
    ordered = sorted(numbers)
    starts = [n for n in ordered if n - 1 not in numbers]
    ends = [n for n in ordered if n + 1 not in numbers]
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


# The two files


def _fetch_images(folder: Path, spans: Sequence[range] | None, source: Source) -> dict[str, int]:
    """Extract what is wanted and missing; returns name and size of all the archive's files."""
    path = folder / source.name
    part = path.with_name(f"{path.name}.part")
    if not path.is_file() and spans is None:
        have = part.stat().st_size if part.is_file() else 0
        _check_space(folder, source.unpacked + max(source.size - have, 0))
        download(source, part, path)
        verify(source, part)
        os.replace(part, path)
    elif path.is_file():
        verify(source, path)
    else:
        share = min(sum(map(len, spans)) / paper.COUNTS["patients"], 1)
        _check_space(folder, int(source.unpacked * share))

    local = path.is_file()
    with path.open("rb") if local else Blocks(Remote(source, path), BLOCK) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                checked = check_members(archive.infolist(), source.size)
                members = {info.filename: info.file_size for info in checked}
                missing = set(_missing(folder, choose(members, spans)))
                _check_space(folder, sum(members[name] for name in missing))
                _report_left_out(archive.infolist(), members, spans)
                write_json(folder / WORK / "contents.json", {"source": asdict(source), "members": members})
                _extract(archive, [info for info in checked if info.filename in missing], folder)
        except UNREADABLE as error:
            where, first = (path, f"delete {path} and ") if local else (source.url, "")
            raise UserError(f"{where} is no ZIP that can be trusted ({error}): {first}start again.") from error
    if spans is None:
        path.unlink()
        print(f"{path} is unpacked and was removed.")
    return members


def _report_left_out(infos: Sequence[zipfile.ZipInfo], members: Mapping, spans: Sequence[range] | None) -> None:
    others = [info.filename for info in infos if not info.is_dir() and info.filename not in members]
    if others:
        print(f"{len(others)} other files of the ZIP are left out, such as {others[0]!r}.")
    absent = set().union(*spans or []) - {int(patient_of(name)) for name in members}
    if absent:
        print(f"The archive has no patients {runs(absent)}.")


def _fetch_notes(folder: Path, notes: Source) -> None:
    path = folder / notes.name
    part = folder / WORK / "notes.part"
    part.unlink(missing_ok=True)
    download(notes, part, path)
    try:
        with zipfile.ZipFile(part) as workbook:
            workbook.getinfo("xl/workbook.xml")
    except (*UNREADABLE, KeyError) as error:
        raise UserError(f"{notes.url} is not the notes' workbook: {by_hand(notes, path)}.") from error
    os.replace(part, path)


def _known_members(folder: Path, source: Source) -> dict[str, int] | None:
    """What an earlier call wrote about this source's ZIP, so that a finished folder needs no traffic."""
    try:
        contents = read_json(folder / WORK / "contents.json")
        return contents["members"] if contents["source"] == asdict(source) else None
    except (UserError, KeyError, TypeError):
        return None


def _missing(folder: Path, members: Mapping[str, int]) -> list[str]:
    """Members that do not lie in `folder` with their size; a file gets its name only when it is whole."""

    def there(path: Path, size: int) -> bool:
        return path.is_file() and path.stat().st_size == size

    return [name for name, size in members.items() if not there(folder / name, size)]


def _check_space(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < need + 2**28:
        raise UserError(
            f"{folder} has {free / 1e9:.1f} GB of free space and {(need + 2**28) / 1e9:.1f} GB are needed: free some, "
            "name another folder, or fetch fewer patients with --patients."
        )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    (folder / WORK).mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / WORK / "lock", timeout=0):
            yield
    except filelock.Timeout:
        raise UserError(f"Another fetch is writing to {folder}: wait for it to end.") from None


# The ZIP


def check_members(infos: Sequence[zipfile.ZipInfo], zip_size: int) -> list[zipfile.ZipInfo]:
    """The patients' files of a ZIP's directory, in stored order; nothing is extracted unless all members are sound.

    Parameters
    ----------
    infos : sequence of ZipInfo
    zip_size : int
        Bytes of the whole ZIP.

    Raises
    ------
    zipfile.BadZipFile
        For names that leave the target or cannot exist side by side, links and devices, encryption, unusual
        compression, sizes or offsets out of bounds; or when there is no patient's file.
    """
    for info in infos:
        if reason := _unsound(info, zip_size):
            raise zipfile.BadZipFile(f"member {info.orig_filename!r}: {reason}")
    files = [info for info in infos if not info.is_dir()]
    if sum(info.file_size for info in files) > MAX_EXPANSION * zip_size:
        raise zipfile.BadZipFile(f"its members are together over {MAX_EXPANSION} times its own size")
    # Some file systems do not tell apart the case of letters or the ways to write an accent.
    names = [unicodedata.normalize("NFC", info.filename).casefold() for info in files]
    unique = set(names)
    folders = {str(parent) for name in unique for parent in PurePosixPath(name).parents}
    if len(unique) < len(names) or unique & folders:
        raise zipfile.BadZipFile("two members would overwrite each other")
    patients = [info for info in files if LAYOUT.fullmatch(info.filename)]
    if not patients:
        raise zipfile.BadZipFile("it holds no folder like 01_MRI_Data/0001")
    return sorted(patients, key=lambda info: info.header_offset)


def _unsound(info: zipfile.ZipInfo, zip_size: int) -> str:
    """Why a member must not be extracted, or an empty string."""
    name = info.orig_filename  # zipfile cuts `filename` at a zero byte
    parts = name.removesuffix("/").split("/")
    if any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts):
        return "its path leaves the folder or is not normal"
    if not name.isprintable() or set(name) & set('\\:*?"<>|'):
        return "its name has a character that paths must not have"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or device"
    if info.flag_bits & 0x1:
        return "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "neither stored nor deflated"
    if not (0 <= info.header_offset < zip_size and info.compress_size <= zip_size and info.file_size <= MAX_MEMBER):
        return "its size or place is out of bounds"
    return ""


def _extract(archive: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo], folder: Path) -> None:
    """Write members under a temporary name, check size and CRC, and rename.

    However much a member's data expands to, zipfile hands out no more than the size that its directory states, which
    `check_members` has bounded, and then compares the CRC.
    """
    temporary = folder / WORK / "member"
    total = sum(info.file_size for info in members)
    with progress_bar(total=total, unit="B", unit_scale=True, desc="files", disable=not members) as bar:
        for info in members:
            with archive.open(info) as member, temporary.open("wb") as file:
                shutil.copyfileobj(member, file, CHUNK)
            if temporary.stat().st_size != info.file_size:
                raise zipfile.BadZipFile(f"member {info.filename!r} is shorter than stated")
            target = folder / info.filename
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary, target)
            bar.update(info.file_size)


# The command


def next_command(folder: Path, patients: int) -> str:
    """Command to run on a folder with so many patients: the demo's sizes, or the smoke's where those are too few."""
    settings = profiles.load("demo").data
    held_out = settings.test_per_class + settings.validation_per_class
    # The rarer class is the positive one; as many again are left for training.
    enough = math.ceil(2 * held_out * paper.COUNTS["patients"] / paper.COUNTS["positive samples"])
    command = f"./run_all.sh --profile {{}} --data {shlex.quote(str(folder))}"
    if patients >= enough:
        return command.format("demo")
    return f"{command.format('smoke')}  (--profile demo needs about {enough} patients)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``lhdlib fetch``."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="gets 01_MRI_Data and the notes")
    parser.add_argument("--patients", metavar="1-20,30", help="only these, by byte ranges; all by default")


def run(args: argparse.Namespace) -> int:
    """``lhdlib fetch``; the same command goes on where an interrupted one stopped."""
    there = fetch(args.folder, patients=args.patients, source=ARCHIVE, notes=NOTES)
    print(f"{args.folder} holds {len(there)} patients ({runs([int(p) for p in there])}) and the radiologists' notes.")
    print(f"Next: {next_command(args.folder, len(there))}")
    return 0
