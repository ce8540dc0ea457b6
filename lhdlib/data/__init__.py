"""From DICOM studies and radiologists' notes to slices, discs and labels."""
