"""T1 or T2, from times and names."""

import pytest

from lhdlib.data.dicom_file import weighting
from lhdlib.data.dicom_file.header import Rejected, opened
from lhdlib.data.dicom_file.texts import texts_of
from tests.data import trees

NO_TIMES = {"EchoTime": None, "RepetitionTime": None}


def found(tmp_path, folder="s", kinds=(), **tags) -> tuple[str, str]:
    """Weighting, or the reason for none, and the remark."""
    path = trees.save(trees.make_slice(size=(8, 8), **tags), tmp_path / "a")
    with opened(path) as (header, _):
        try:
            return weighting.weighting_of(header, texts_of(header, f"p/st/{folder}/a"), set(kinds))
        except Rejected as reason:
            return str(reason), ""


@pytest.mark.parametrize(
    "name",
    """STIR|t2_tirm_tra|T2 FLAIR
    |T2 dark fluid|T2_IR_TSE|DWI b1000|ep2d_diff|ADC|b 800|trace|DTI|T2* GRE|T2 *|t2star
    |t2_medic|MERGE|3D mFFE|t2_fl2d_tra|T2-FFE|CISS|PD|pd_tse_fs|PDw TSE|DP TSE|proton density
    |T2_TSE_DIXON_W|t2 dixon in-phase
    |WATER: Ax T2 IDEAL|FAT: Ax T2|T2 out of phase|opp-phase|T2 map|T2map|MR myelo|perfusion|T2 SWI
    |t2_me2d_tra|sBTFE|bSSFP|T2rho""".split("|"),
)
def test_other_contrasts_that_call_themselves_so_are_not_t2_though_their_times_fit(name, tmp_path):
    for tags in (trees.T2, NO_TIMES):
        reason, _ = found(tmp_path, **tags | {"SeriesDescription": name})
        assert reason.startswith("weighting neither T1 nor T2: by its name "), name
        reason, _ = found(tmp_path, folder=name.strip(), **tags | {"SeriesDescription": ""})
        assert reason.startswith("weighting neither T1 nor T2: by its name "), name


@pytest.mark.parametrize("kind", ["DIXON", "WATER", "F", "ADC", "DIFFUSION", "M_IR", "M_FFE", "PHASE", "T2 MAP"])
def test_image_types_of_other_contrasts(kind, tmp_path):
    assert "by its name" in found(tmp_path, kinds=["ORIGINAL", "PRIMARY", kind])[0]


@pytest.mark.parametrize(
    "name",
    """T2|t2_tse_tra_384|AX T2 FSE|Ax T2 frFSE|AXT2|T2W_TSE|T2 TSE FS|t2_tse_fat_sat|T2 FATSAT|T2 fat suppressed
    |t2 water sat|T2 SPAIR|T2_tse_tra_p2|T2 TSE medical centre
    |T2 BLADE|T2 AX L4-S1|ax pd+t2|T2 start|T2 DRIVE""".split("|"),
)
def test_names_of_ordinary_t2_series(name, tmp_path):
    assert found(tmp_path, **trees.T2 | {"SeriesDescription": name}) == ("T2", "")
    if "pd" not in name:
        assert found(tmp_path, **NO_TIMES, SeriesDescription=name) == ("T2", "")


@pytest.mark.parametrize(
    "tags, expected",
    [
        ({**trees.T1, "SeriesDescription": "t2_tse_tra"}, ("T1", weighting.DISAGREE)),
        ({**trees.T2, "SeriesDescription": "t1_tse_tra"}, ("T2", weighting.DISAGREE)),
        ({**trees.T2, "SeriesDescription": "t1 and t2"}, ("T2", "")),
        ({**trees.T2, "SeriesDescription": "axial"}, ("T2", "")),
        ({**trees.T1, "SeriesDescription": "pd+t2"}, ("weighting neither T1 nor T2", None)),
        ({**NO_TIMES, "SeriesDescription": "t1 and t2"}, ("weighting neither T1 nor T2", None)),
    ],
)
def test_times_decide_and_contradictions_are_remarked(tags, expected, tmp_path):
    answer = found(tmp_path, **tags)
    if expected[1] is None:
        expected = (expected[0], "") if answer[0] == expected[0] else ("T1", weighting.DISAGREE)
    assert answer == expected


def test_the_series_folder_names_it_where_the_header_does_not(tmp_path):
    assert found(tmp_path, folder="T2_TSE_TRA_0004", **NO_TIMES, SeriesDescription=None) == ("T2", "")
    assert found(tmp_path, folder="T1_0004", **NO_TIMES, SeriesDescription="t2") == ("T2", "")
