"""Readers: the note says what its reader decided; the images and the second reader know nothing of that."""

from dataclasses import replace

import numpy as np
import pytest

from lhdlib.data.reports import disc_labels
from lhdlib.phantom.reading import read_patient


@pytest.mark.slow
def test_the_note_says_what_its_reader_decided(anatomies):
    for patient in anatomies:
        reading = read_patient(11, patient)
        assert [disc.level for disc in reading.discs][-5:] == ["L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1"]
        assert len(reading.discs) == max(5, len(patient.slabs))
        noted = {disc.level for disc, found in zip(reading.discs, reading.noted, strict=True) if found}
        assert set(disc_labels(reading.note)) == noted, reading.note


def test_readers_err_independently_of_each_other(anatomies):
    readings = [read_patient(11, patient) for patient in anatomies]
    severity = np.array([[disc.severity for disc in reading.discs[-3:]] for reading in readings])
    noted = np.array([reading.noted[-3:] for reading in readings])
    second = np.array([reading.second[-3:] for reading in readings])
    near = np.abs(severity) < 0.15  # where the severity decides nothing
    assert abs(np.corrcoef(noted[near], second[near])[0, 1]) < 0.2
    assert second[near].mean() > noted[near].mean()  # the second is more lenient


def test_a_reading_depends_on_seed_number_and_severity_alone(anatomies):
    patient = anatomies[4]
    assert read_patient(11, patient) == read_patient(11, patient)
    readings = {read_patient(seed, patient).note for seed in range(12)}
    assert len(readings) > 4
    severe = replace(patient, discs=tuple(replace(disc, severity=9.0) for disc in patient.discs))
    healthy = replace(patient, discs=tuple(replace(disc, severity=-9.0) for disc in patient.discs))
    assert all(read_patient(11, severe).noted) and not any(read_patient(11, healthy).second)
