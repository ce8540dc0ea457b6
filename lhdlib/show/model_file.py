"""A trained model as one file that can travel: plain arrays, a profile and a card in a zip; no code and no pickle.

Whoever sends a file may be wrong or hostile: sizes, names, checksums and shapes are checked before anything is built,
and what is wrong is one sentence.
"""

import dataclasses
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lhdlib import profile as profiles
from lhdlib.errors import UserError
from lhdlib.files import replacing

FORMAT = "lhdlib model 1"
ABOUT, CARD = "model.json", "card.md"
#: Bounds on hostile files: bytes packed and unpacked (the paper's network has 100 MB), of the texts, and members
MAX_BYTES, MAX_TEXT, MAX_MEMBERS = 2**28, 2**20, 4096
MEMBER = re.compile(r"(?:encoder|classifier|kinds)(?:/[a-z0-9_]{1,60}){1,3}\.npy")
#: Bounds on what a network may ask for: pixels, base width, feature dimension, blocks in all
MAX_IMAGE, MAX_WIDTH, MAX_DIM, MAX_DEPTH = 1024, 1024, 8192, 256
MAX_VIEW_MM = 1000.0
#: What of a run's stamp travels
STAMP = ("project", "commit", "profile", "seed", "data", "fingerprint", "tensorflow", "keras", "numpy")
HEADS = "classifier/weights", "classifier/bias"  # (seeds, 3, d) and (seeds,)
KINDS = "kinds/"  # before the arrays of a head for each kind of lesion, where the run has them


@dataclass(frozen=True)
class ModelFile:
    """The run's profile and stamp, and its arrays by name."""

    profile: profiles.Profile
    stamp: dict[str, Any]
    arrays: dict[str, np.ndarray]


class _Wrong(Exception):
    """Why a file is no model."""


def kind_names(kind: str) -> tuple[str, str]:
    """Names of a kind's weights (3, d) and bias (1,)."""
    name = f"{KINDS}{kind.replace(' ', '_')}"
    return f"{name}/weights", f"{name}/bias"


def write_model(path: Path, model: ModelFile, card: str) -> None:
    """Write a model; equal models give equal bytes."""
    members = {CARD: card.encode()}
    for name, array in model.arrays.items():
        file = io.BytesIO()
        np.lib.format.write_array(file, np.ascontiguousarray(array, "<f4"), version=(1, 0), allow_pickle=False)
        members[f"{name}.npy"] = file.getvalue()
    values = dataclasses.asdict(model.profile)
    about = {
        "format": FORMAT,
        "profile": {"name": values.pop("name"), "values": values},
        "stamp": model.stamp,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
    }
    members = {ABOUT: json.dumps(about, indent=1).encode(), **members}
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # without a time


def read_model(path: str | Path) -> ModelFile:
    """Read a model that `write_model` wrote, here or elsewhere.

    Raises
    ------
    UserError
        When it is none, or is damaged; nothing of it was run.
    """
    try:
        return _model(_members(Path(path)))
    except _Wrong as wrong:
        reason = str(wrong)
    except UserError as error:  # of its profile
        reason = str(error).rstrip(".").replace(": ", ", ")
    except Exception as error:  # a damaged archive or array fails in any of the libraries beneath
        reason = f"it cannot be read, {type(error).__name__}"
    raise UserError(f"{path} is no model of this project ({reason[:300]}): have it exported or copied again.") from None


def _members(path: Path) -> dict[str, bytes]:
    """The file's members, each as large as it says and with its checksum."""
    if path.stat().st_size > MAX_BYTES:
        raise _Wrong("it is too large")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if len(entries) > MAX_MEMBERS or len(set(names)) < len(names):
            raise _Wrong("it has too many members")
        if sum(entry.file_size for entry in entries) > MAX_BYTES:
            raise _Wrong("it unpacks to an absurd size")
        for name in names:
            if name not in (ABOUT, CARD) and not MEMBER.fullmatch(name):
                raise _Wrong("it has members that no model has")
        members = {entry.filename: _content(archive, entry) for entry in entries}
    if not {ABOUT, CARD} <= members.keys():
        raise _Wrong("its description is missing")
    return members


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """A member, of which no more is unpacked than it says."""
    if entry.filename in (ABOUT, CARD) and entry.file_size > MAX_TEXT:
        raise _Wrong("its description is too long")
    with archive.open(entry) as stored:
        content = stored.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise _Wrong("a member has another size than it says")
    return content


def _model(members: dict[str, bytes]) -> ModelFile:
    try:
        about = json.loads(members.pop(ABOUT))
    except RecursionError:
        raise _Wrong("its description is nested too deep") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise _Wrong(f"its format is not {FORMAT!r}")
    if about.get("sha256") != {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}:
        raise _Wrong("checksums and members differ")
    members.pop(CARD)
    profile = _profile(about.get("profile"))
    stamp = about.get("stamp")
    if not isinstance(stamp, dict) or not {"data"} <= stamp.keys() <= set(STAMP):
        raise _Wrong("it does not say what it was trained on")
    if not all(isinstance(value, str | int) and len(str(value)) < 500 for value in stamp.values()):
        raise _Wrong("its origin is no text")
    stamp = {name: "".join(sign for sign in str(value) if sign.isprintable()) for name, value in stamp.items()}
    arrays = {name.removesuffix(".npy"): _array(content) for name, content in members.items()}
    _check_sizes(profile, arrays)
    return ModelFile(profile, stamp, arrays)


def _profile(given: Any) -> profiles.Profile:
    if not isinstance(given, dict) or not isinstance(given.get("values"), dict):
        raise _Wrong("its profile is missing")
    profile = profiles.from_dict(str(given.get("name"))[:40], given["values"])
    network = profile.encoder
    sides = (
        (profile.data.image_size, MAX_IMAGE),
        (network.width, MAX_WIDTH),
        (network.dim, MAX_DIM),
        (len(network.blocks), 8),
        *((count, MAX_DEPTH) for count in (*network.blocks, sum(network.blocks))),
        *((stride, 4) for stride in network.strides),
    )
    if not all(1 <= value <= most for value, most in sides):
        raise _Wrong("its network has an absurd size")
    if not 0 <= profile.data.field_of_view_mm <= MAX_VIEW_MM:
        raise _Wrong("its field of view is absurd")
    return profile


def _array(content: bytes) -> np.ndarray:
    """An array of single-precision numbers in NumPy's format, whose header is not trusted."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise _Wrong("an array has another format")
    shape, by_columns, kind = np.lib.format.read_array_header_1_0(file)
    values = content[file.tell() :]
    count = 1
    for side in shape:
        count *= side
    if kind != np.dtype("<f4") or by_columns or len(shape) > 4 or min(shape, default=1) < 0 or count * 4 != len(values):
        raise _Wrong("an array has another size or type than it says")
    array = np.frombuffer(values, "<f4").reshape(shape)
    if not np.isfinite(array).all():
        raise _Wrong("an array holds numbers that are none")
    return array


def _check_sizes(profile: profiles.Profile, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays that are not those of the profile's network, before one is built."""
    weights, bias = (arrays.get(name, np.zeros(0)) for name in HEADS)
    if weights.shape[1:] != (3, profile.encoder.dim) or not len(weights) or bias.shape != weights.shape[:1]:
        raise _Wrong("its classifier does not fit its network")
    for name, values in arrays.items():
        wanted = (3, profile.encoder.dim) if name.endswith("/weights") else (1,)
        if name.startswith(KINDS) and values.shape != wanted:
            raise _Wrong("its kinds of lesion do not fit its network")
    if sum(a.size for name, a in arrays.items() if name.startswith("encoder/")) != numbers_of(profile.encoder):
        raise _Wrong("its arrays do not fit its network")


def numbers_of(settings: profiles.Encoder) -> int:
    """Numbers in the weights of `encoder.build_encoder`, without building it."""

    def convolved(side: int, inputs: int, outputs: int) -> int:
        return (side * side * inputs + 1) * outputs + 4 * outputs  # with its batch normalisation

    inputs = settings.width
    count = convolved(7, 1, inputs)
    for stage, blocks in enumerate(settings.blocks):
        width = settings.width * 2**stage
        for block in range(blocks):
            count += convolved(1, inputs, width) + convolved(3, width, width) + convolved(1, width, 4 * width)
            count += convolved(1, inputs, 4 * width) * (block == 0)
            inputs = 4 * width
    return count + convolved(1, inputs, settings.dim) + 3 * convolved(1, settings.dim, settings.dim)
