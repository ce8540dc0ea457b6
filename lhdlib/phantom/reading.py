"""Two readers of a phantom patient: one writes the note, the other only tells which discs are abnormal."""

from typing import NamedTuple

import numpy as np

from lhdlib.phantom.anatomy import Disc, Patient
from lhdlib.phantom.disease import LENIENCY, judge
from lhdlib.phantom.notes import compose_note

LUMBAR = 5  # discs that every note covers, whether axial slices show them or not


class Reading(NamedTuple):
    """Judgements of two readers, who see the discs from the top."""

    discs: tuple[Disc, ...]
    noted: tuple[bool, ...]  #: abnormal by the reader who writes the note
    second: tuple[bool, ...]  #: abnormal by the second reader
    note: str


def read_patient(seed: int, patient: Patient, *, hedged: bool = False) -> Reading:
    """Judge the lumbar discs and all that are imaged; seed and number decide, and the images know nothing of it.

    Parameters
    ----------
    hedged
        The note leaves a disc open (`compose_note`).
    """
    discs = tuple(reversed(patient.discs[: max(LUMBAR, len(patient.slabs))]))
    severity = np.array([disc.severity for disc in discs])
    writer, second = (np.random.default_rng([seed, patient.number, reader]) for reader in (1, 2))
    noted = tuple(judge(writer, severity).tolist())
    return Reading(
        discs=discs,
        noted=noted,
        second=tuple(judge(second, severity, leniency=LENIENCY).tolist()),
        note=compose_note(writer, list(discs), noted, hedged=hedged),
    )
