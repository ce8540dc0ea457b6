"""The body's region from texts: lumbar, another, or a person has to look."""

import pytest

from lhdlib.data.dicom_file.header import Rejected
from lhdlib.data.dicom_file.region import DISAGREE, UNTOLD, region_remark
from lhdlib.data.dicom_file.texts import Texts, plain

ELSEWHERE = "other"


def remark(folder_tells=True, **texts: str) -> str:
    empty = dict.fromkeys(Texts.__dataclass_fields__, "")
    try:
        return region_remark(Texts(**empty | {name: plain(text) for name, text in texts.items()}), folder_tells)
    except Rejected as reason:
        assert str(reason) == "other body region"
        return ELSEWHERE


LUMBAR = """l-spine^lss|MRI LUMBAR SPINE|LWS nativ|MRT der LWS|IRM rachis lombaire|RM columna lumbar|RM de coluna lombar
    |RM rachide lombosacrale|L/S SPINE|L S SPINE|LS-SPINE|LSPINE|Lumbosacral spine|lumbo-sacral|Lendenwirbelsäule|LWK
    |МРТ поясничного отдела|пояснично-крестцовый отдел|腰椎|腰骶椎|요추 MRI|lomber vertebra|kręgosłup lędźwiowy
    |L-SPINE_CLINICAL_LIBRARIES_20160605|MR LUMBAR W/O CONTRAST|Spine^Lumbar|ax t2 L4-S1|L1-L5|L5/S1""".split("|")
OTHER = """MRI CERVICAL SPINE|C-SPINE_C-SPINE_20160309|HWS nativ|IRM rachis cervical|columna cervical|Halswirbelsäule
    |CSPINE|ax t2 C5-6|C2-C7|шейный отдел|颈椎|경추|szyjny|MRI D-SPINE|T SPINE|TSPINE|BWS|Brustwirbelsäule|dorsal spine
    |columna dorsal|rachis dorsal|thoracic|Thorax|грудной отдел|胸椎|Sacroiliac joints|SI joints|SIJ|ISG|SIG
    |Iliosakralgelenk|sacrum|coccyx|Kreuzbein|sacro-iliaques|SSPINE|pelvis|Becken|bassin|hip left
    |Hüfte|abdomen|Bauch|liver|MRCP|prostate
    |MRI C/S|MRI T/S|brain|HEAD|Schädel|cerveau|knee|Knie|shoulder|Schulter|foot|wrist""".split("|")
SEVERAL = """whole spine|total spine|Ganzwirbelsäule|rachis entier|columna completa|DORSOLUMBAR SPINE|T-L spine|TLSPINE
    |CTL spine|cervical and lumbar spine|thoracolumbar|LWS + ISG|HWS/LWS|lumbar spine and pelvis""".split("|")
UNSPECIFIC = """MRI SPINE|Wirbelsäule|rachis|columna vertebral|MRI nadgarstek|позвоночник|脊椎|Miller
    |Research 7""".split("|")


@pytest.mark.parametrize("text", [text.strip() for text in LUMBAR])
def test_lumbar_studies_are_used_whatever_the_body_part(text):
    for place in ("study", "study_folder", "series", "series_folder"):
        assert remark(**{place: text}) == ""
        assert remark(**{place: text}, body_part="HEAD") == ""


@pytest.mark.parametrize("text", [text.strip() for text in OTHER])
def test_other_regions_are_set_aside_and_contradictions_remarked(text):
    for place in ("study", "study_folder", "series", "series_folder"):
        assert remark(**{place: text}) == ELSEWHERE
    assert remark(study=text, body_part="LSPINE") == ELSEWHERE  # a protocol's body part is no witness
    assert remark(study="MRI lumbar spine", series=text) == DISAGREE
    assert remark(study=text, series="ax t2 lumbar") == DISAGREE
    assert remark(body_part=text) == ELSEWHERE


@pytest.mark.parametrize("text", [text.strip() for text in SEVERAL])
def test_of_a_study_of_several_regions_the_series_tells_which(text):
    assert remark(study=text) == DISAGREE
    assert remark(study=text, body_part="LSPINE") == DISAGREE
    assert remark(study=text, series="ax t2 LWS") == ""
    assert remark(study=text, series="ax t2 HWS") == ELSEWHERE


@pytest.mark.parametrize("text", [text.strip() for text in UNSPECIFIC])
def test_words_that_may_name_a_region_are_remarked_unless_another_text_says_lumbar(text):
    assert remark(study=text) == UNTOLD
    assert remark(study=text, body_part="LSPINE") == ""
    assert remark(study=text, series="AX T2 L-SPINE") == ""


@pytest.mark.parametrize("series", ["T2", "t2_tse_tra_384", "AX FRFSE T2", "sT2W_TSE", "T2 axial oblique blocks", ""])
def test_studies_without_such_words_are_ordinary(series):
    assert remark(series=series) == ""
    assert remark(series=series, study="MRI without contrast", study_folder="2016-03", series_folder="SE000004") == ""


def test_a_patients_folder_is_no_series():
    assert remark(folder_tells=False, series_folder="HAND_MARIA", series="t2") == ""
    assert remark(folder_tells=True, series_folder="HAND", series="t2") == ELSEWHERE


def test_a_folder_that_may_be_a_patients_or_a_studys_is_a_doubt_where_nothing_else_tells():
    assert remark(only_folder="C-SPINE_20160309", series="t2") == UNTOLD
    assert remark(only_folder="C-SPINE_20160309", series="t2 LWS") == ""
    assert remark(only_folder="0037", series="t2") == ""
