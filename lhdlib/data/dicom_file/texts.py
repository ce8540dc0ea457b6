"""Texts of a study and its series: their descriptions, and the names of their own two folders."""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from lhdlib.data.dicom_file.header import Header


@dataclass(frozen=True)
class Texts:
    """Plain words, apart by single spaces; empty where nothing is said."""

    series: str
    series_folder: str
    study: str
    study_folder: str
    body_part: str
    only_folder: str  #: of a series' folder that lies in one other: whether the patient's or the study's, nothing says


def texts_of(header: Header, path: str, *, described: str = "") -> Texts:
    """Texts of an image; folders above the study's say nothing of it (a clinic, a person).

    Parameters
    ----------
    described : str
        Description of the series in a table beside the images.
    """
    folders = path.split("/")[:-1]
    return Texts(
        series=plain(f"{header.text('SeriesDescription') or header.text('ProtocolName')} {described}"),
        series_folder=plain(folders[-1]) if folders else "",
        study=plain(header.text("StudyDescription")),
        study_folder=plain(folders[-2]) if len(folders) > 2 else "",
        body_part=plain(header.text("BodyPartExamined")),
        only_folder=plain(folders[0]) if len(folders) == 2 else "",
    )


@lru_cache(maxsize=1024)  # files of a series share theirs
def plain(text: str) -> str:
    """Lower case without accents; letters, digits and ``*``, with one space for whatever else stands between."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    letters = unicodedata.normalize("NFC", "".join(sign for sign in letters if not unicodedata.combining(sign)))
    return re.sub(r"[^\w*]+|_+", " ", letters).strip()
