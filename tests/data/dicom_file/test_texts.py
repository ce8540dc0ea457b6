"""Texts of a study: plain words, and only from its own two folders."""

import pytest

from lhdlib.data.dicom_file.header import opened
from lhdlib.data.dicom_file.texts import plain, texts_of
from tests.data import trees


@pytest.mark.parametrize(
    "text, expected",
    [
        ("T2_TSE_TRA^384", "t2 tse tra 384"),
        ("  L-Spine / LSS ", "l spine lss"),
        ("Wirbelsäule", "wirbelsaule"),
        ("Übersicht", "ubersicht"),
        ("T2*", "t2*"),
        ("шейный", "шеиныи"),
        ("요추", "요추"),
        ("腰椎", "腰椎"),
        ("STRAẞE", "strasse"),
        ("__", ""),
    ],
)
def test_plain_words(text, expected):
    assert plain(text) == expected


@pytest.mark.parametrize(
    "path, study, series",
    [
        ("Brain Centre/0001/ST/AX/a", "st", "ax"),
        ("0001/ST/AX/a", "st", "ax"),
        ("HAND_MARIA/AX/a", "", "ax"),
        ("AX/a", "", "ax"),
        ("a", "", ""),
    ],
)
def test_folders_above_the_study_say_nothing(path, study, series, tmp_path):
    trees.save(trees.make_slice(size=(8, 8), SeriesDescription=None, ProtocolName="t2 tse"), tmp_path / path)
    with opened(tmp_path / path) as (header, _):
        texts = texts_of(header, path)
    assert (texts.study_folder, texts.series_folder, texts.series, texts.body_part) == (
        study,
        series,
        "t2 tse",
        "lspine",
    )
