"""Truth: labels and masks agree with each other and with the files."""

import numpy as np
import pytest

from lhdlib.errors import UserError
from lhdlib.phantom import truth
from tests.phantom.studies import axial_headers


@pytest.mark.slow
def test_truth_labels_and_masks_agree(headers, written):
    discs, masks = truth.load_truth(written)
    numbered = axial_headers(headers, "T2")
    assert set(masks) == {str(ds.SOPInstanceUID) for ds in numbered.ds}
    assert discs.label.nunique() == 2
    for row in discs.itertuples():
        slab = range(row.first_slice, row.first_slice + row.slices)
        mine = [ds for ds in numbered[numbered.patient == row.patient].ds if ds.InstanceNumber in slab]
        sizes = {int(ds.InstanceNumber): masks[ds.SOPInstanceUID].sum() for ds in mine}
        assert all(masks[ds.SOPInstanceUID].shape == ds.pixel_array.shape for ds in mine)
        assert row.label == (row.lesion != "none")
        if row.label:
            assert sizes[row.central_slice] * 0.6875**2 > 4  # mm²
        else:
            assert not any(sizes.values())


def test_truth_of_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no phantom truth"):
        truth.load_truth(tmp_path)


def test_masks_come_back_as_they_were(tmp_path):
    rng = np.random.default_rng(2)
    masks = {f"1.2.{i}": rng.random(rng.integers(1, 40, 2)) < rng.random() for i in range(30)}
    rows = [{"patient": "0001", "level": "L5-S1"}]
    truth.write_truth(tmp_path, rows, {uid: truth.PackedMask.of(mask) for uid, mask in masks.items()})
    discs, again = truth.load_truth(tmp_path)
    assert discs.to_dict("records") == rows and list(again) == list(masks) and len(again) == 30
    for uid, mask in masks.items():
        assert again[uid].dtype == bool
        np.testing.assert_array_equal(again[uid], mask)


def test_a_row_tells_the_lesion_and_where_its_slices_are(anatomies):
    for patient in anatomies[:20]:
        for slab in patient.slabs:
            masks = [np.full((4, 4), i == 1) for i in range(len(slab.offsets))]
            row = truth.truth_row(patient, slab, 6, masks)
            lesion = patient.discs[slab.disc].lesion
            assert (row["patient"], row["level"]) == (f"{patient.number:04d}", patient.discs[slab.disc].level)
            assert (row["label"], row["lesion"]) == ((1, lesion.kind) if lesion else (0, "none"))
            assert (row["first_slice"], row["slices"], row["lesion_slices"]) == (6, len(masks), 1)
            assert abs(slab.offsets[row["central_slice"] - 6]) == min(map(abs, slab.offsets))
