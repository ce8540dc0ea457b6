"""Truth: labels and masks agree with each other and with the files."""

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
