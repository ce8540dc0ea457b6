"""T1 or T2 spin echo: from echo and repetition time, and from what the series calls itself."""

import re
from functools import lru_cache

from lhdlib.data.dicom_file.header import Header, Rejected
from lhdlib.data.dicom_file.texts import Texts

T1_MAX_ECHO_MS, T2_MIN_ECHO_MS = 40.0, 60.0  # spin echo: short TE and TR give T1, long TE and TR give T2
T1_MAX_REPETITION_MS, T2_MIN_REPETITION_MS = 1500.0, 1500.0
INVERSION, GRADIENT, DIFFUSION = "inversion recovery", "gradient echo or echo planar", "diffusion"
DENSITY, DIXON, OTHER = "proton density", "a part of Dixon's method", "a map or another contrast"
#: Contrasts of other kinds that may have a T2 image's times, by the words of series; ``~`` is a space or none
WORDS = {
    INVERSION: r"stir(?!l) tirm flair darkfluid dark~fluid <ir> <tir> irtse ir~tse irfse turbo~ir inversion",
    GRADIENT: r"t2~\*+ t2~w~\*+ t2~star> <t2s> <star> <medic> <me[23]d <merge> m?ffe> tfe> ssfp psif"
    r" <gre> <fgre> <fl[23]d flash <spgr> <swip?>"
    r" swan> fisp fiesta <ciss> <dess> cosmic <vibe> <lava> <thrive> trufi <hemo> gradient",
    DIFFUSION: r"<dwi dwi> <dti <diff> diffus <adc> <epi> ep2d <trace> <b~?\d{2,4}> <ivim> <dw> dwibs",
    OTHER: r"<maps?> t[12]map> t[12]~rho> myelo perfus <perf> <dce> <mra> angio <tof> spectro <mip> <mpr>"
    r" subtract <sub>",
    DENSITY: r"<pd> <pd(?:w|fs|tse|fse|spair|spir)> <dp> <rho> proton <densi",
    DIXON: r"dixon <ideal> <in~phase <inphase <out~phase <out~of~phase <opp> <opposed <opp~phase"
    r" <water>(?!~(?:sat|sup|ex|free)) <fat>(?!~(?:s>|sat|sup|free|red)) <fat~only",
}
KINDS = {
    INVERSION: {"M_IR", "IR", "STIR", "FLAIR"},
    GRADIENT: {"M_FFE", "FFE", "M_GRE", "T2_STAR", "T2*"},
    DIFFUSION: {"DIFFUSION", "ADC", "TRACEW", "FA"},
    DIXON: {"DIXON", "WATER", "FAT", "W", "F", "IP", "OP", "IN_PHASE", "OUT_PHASE", "OPP_PHASE", "INPHASE", "OUTPHASE"},
    OTHER: {"P", "PHASE", "PHASE MAP", "T2 MAP", "T1 MAP", "R", "I", "REAL", "IMAGINARY"},
}
SEQUENCES = {INVERSION: {"IR"}, GRADIENT: {"GR", "EP"}}
DISAGREE = "weighting: times and name disagree"


def _pattern(words: str) -> re.Pattern[str]:
    """One expression of many; ``<`` and ``>`` are ends of words of letters."""
    ends = {"<": r"(?<![a-z])", ">": r"(?![a-z])", "~": " ?"}
    return re.compile("|".join(re.sub(r"(?<!\?)<|>|~", lambda end: ends[end[0]], word) for word in words.split()))


PATTERNS = {contrast: _pattern(words) for contrast, words in WORDS.items()}
NAMED = re.compile(r"(?<![a-z0-9])(?:ax|tra|cor|sag)?t([12])w?(?![0-9*])")


def weighting_of(header: Header, texts: Texts, kinds: set[str]) -> tuple[str, str]:
    """Weighting, "T1" or "T2", and a remark where times and name disagree.

    The times decide; the name does where one of them is absent or cannot be read, and it alone tells of contrasts of
    other kinds with the same times.

    Parameters
    ----------
    kinds : set of str
        Values of ImageType, in capitals.

    Raises
    ------
    Rejected
        When it is neither.
    """
    sequence = header.codes("ScanningSequence")
    echo, repetition, inversion = (header.number_if_any(tag) for tag in ("EchoTime", "RepetitionTime", "InversionTime"))
    if "IR" in sequence or (inversion or 0) > 0:
        raise Rejected(INVERSION)  # STIR, FLAIR: another contrast at the same echo and repetition times
    if sequence & SEQUENCES[GRADIENT]:
        raise Rejected(GRADIENT)
    named = _named(texts.series) or _named(texts.series_folder)
    other = _other(texts.series) or _other(texts.series_folder)
    other = next((contrast for contrast, values in KINDS.items() if values & kinds), other)
    if other and not (other == DENSITY and "T2" in named and echo is not None):  # a pair of echoes: the time tells
        raise Rejected(f"weighting neither T1 nor T2: by its name {other}")
    possible = {
        "T1": (echo is None or 0 < echo < T1_MAX_ECHO_MS)
        and (repetition is None or 0 < repetition < T1_MAX_REPETITION_MS),
        "T2": (echo is None or echo > T2_MIN_ECHO_MS) and (repetition is None or repetition > T2_MIN_REPETITION_MS),
    }
    told = {weighting for weighting, fits in possible.items() if fits}
    if echo is None or repetition is None:
        told &= named if len(named) == 1 else set()
    if len(told) != 1:
        raise Rejected("weighting neither T1 nor T2")
    weighting = told.pop()
    return weighting, DISAGREE if named and weighting not in named else ""


@lru_cache(maxsize=1024)
def _named(text: str) -> frozenset[str]:
    return frozenset(f"T{digit}" for digit in NAMED.findall(text))


@lru_cache(maxsize=1024)
def _other(text: str) -> str:
    return next((contrast for contrast, pattern in PATTERNS.items() if pattern.search(text)), "")
