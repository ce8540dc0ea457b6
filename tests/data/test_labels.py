"""Labels of samples from notes and verdicts."""

import pandas as pd

from lhdlib.data.labels import label_samples


def test_repeated_notes_of_one_patient_do_not_multiply_samples():
    samples = pd.DataFrame({"patient": ["0001", "0002"], "study": "s", "level": "L4-L5", "part": 0, "paths": [(), ()]})
    note = "Disc bulge at L4-L5."
    notes = pd.DataFrame([("0001", note), ("0001", note), ("0001", ""), ("0002", note), ("0002", "Normal.")])
    notes.columns = ["patient", "note"]
    kept, aside = label_samples(samples, notes)
    assert kept[["patient", "label"]].values.tolist() == [["0001", 1]]
    assert aside[["patient", "reason"]].values.tolist() == [["0002", "several notes for this patient"]]
