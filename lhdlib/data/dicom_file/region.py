"""Which region of the body a slice shows, as far as texts tell.

The series' own texts come before the study's, and both before BodyPartExamined, which a scanner's protocol often sets
wrong. Contradictions, and words that this list does not know, are remarks for a person.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from lhdlib.data.dicom_file.header import Rejected
from lhdlib.data.dicom_file.texts import Texts


def _words(*, anywhere: str, alone: str = "") -> re.Pattern[str]:
    """Beginnings or whole words of `anywhere` stand in any word; those of `alone` stand by themselves."""
    parts = anywhere.split() + [rf"(?<![a-z])(?:{word.replace('~', ' ?')})(?![a-z])" for word in alone.split()]
    return re.compile("|".join(parts))


#: One region
LUMBOSACRAL = re.compile(r"(l[uo]mb\w*|поясн\w*|腰) ?(?:and|und|et|y|e|i|и)? ?(?:sa[ck]r|крестц|骶|仙)\w*")
LUMBAR = _words(
    anywhere="lumb lomb lomber lendenw ledzw bedern agyek lanner landrygg lænder поясн οσφυ 腰 요추 قطن",
    alone=r"l~s?~spine l~s lss lws lwk ls~sp l~sp ls~wirbel\w* l~wirbel\w* [td]~l~spine ct~l~spine"
    r" c~t~l~spine l~[1-5]~l~[2-5] l~[1-5]~s~1 l[1-4]~[2-5] t[hd]?~l~spine",
)
WHOLE_SPINE = _words(
    anywhere="holospin ganzwirbel totalspin wholespin panspin",
    alone=r"(?:whole|total|full|entire|complete|all|pan)~(?:spine|rachis|columna|colonna|colonne|wirbel\w*)"
    r" (?:rachis|columna|colonne|colonna)~(?:entier\w*|complet\w*|total\w*|tout\w*|inter\w*) gws ganze~wirbel\w* gwk",
)
OTHER = _words(
    anywhere="cervi zervi servik halswirb halsrygg halskot kaulara szyjn krcni nyaki шеин αυχεν 颈 頸 頚 경추"
    " thora torac torak torax dorsal dorso dorsi dorsol brustwir brostrygg rintara piersi hrudn грудн θωρακ 胸 흉추"
    " sa[ck]ro sa[ck]rum sa[ck]ral iliosa kreuzbein steiss stei[sz]b coccy coxyx кресц крестц 骶 仙 천추"
    " pelvi becken bassin bacino bekken 骨盆 骨盤 골반 prostat uterus uterin hufte huefte hanche cadera femor"
    " abdom bauch ventre leber(?!g) liver hepat higado fegato renal kidney niere mrcp pancre pankre urogra enterogr"
    " брюш 腹 brain skull crani craneo schadel schaedel gehirn cerebr cerebell enceph encef cerveau pituit hypophys"
    " голов мозг 頭 脑 脳 shoulder schulter epaule hombro spalla sprunggel cheville tobillo handgelenk poignet"
    " ellenbog ellbog heart cardi mammo breast rodilla ginocchi колен плеч 膝 肩 plexus",
    alone=r"c~spine c~s t~s d~s csp hws hwk cwk cs~spine ct~spine c~[1-6]~c?~[2-7] neck hals cou collo cuello cuell"
    r" boyun [td]~spine th~spine bws bwk chest tsp dsp t~l~spine d~l~spine ctl~spine "
    r" th~1?[0-9]~th~1?[0-9] d[1-9]~d1?[0-9] isg sig sij sijs si~joints? s~i~gelenk\w* ilio~sacr\w* (?<!l\s)s~spine"
    r" pelvis hip hips anca huft femur rectum таз head kopf orbit orbits iac tmj sella"
    r" knee knees knie genou ankle foot feet fuss pied hand hands wrist polso muneca elbow coude codo gomito herz coeur"
    r" brust sein chest lung lungs thigh calf leg legs spleen aorta",
)
GENERAL = frozenset(
    """
    mri mrt irm rmn with without contrast contraste kontrast native nativ plain post after before routine standard
    protocol exam examination study series scan image images axial axiale axiales sagittal coronal transverse
    transversal transaxial trans oblique angled parallel straight stack stacks block blocks group groups slab slabs disc
    discs disk
    disks level levels turbo spin echo fast weighted wichtung gewichtet ponderation blade propeller multivane metal
    drive space cube vista haste ssfse frfse fatsat spair spir sense asset grappa high resolution speed quick long short
    deep recon resolve accelerated matrix coil body repeat wiederholung copy part unten oben upper lower left right
    filtered filter norm radial array isotropic volume unknown none null anonymous anonymized anonymised
    """.split()
)
DISAGREE = "body region: texts disagree"
UNTOLD = "body region: not told by the words of study and series"


class _Said(NamedTuple):
    lumbar: bool
    other: bool


@lru_cache(maxsize=1024)
def _said(text: str) -> _Said:
    """What a text speaks of."""
    text = LUMBOSACRAL.sub(r"\1", text)
    whole = bool(WHOLE_SPINE.search(text))
    return _Said(whole or bool(LUMBAR.search(text)), whole or bool(OTHER.search(text)))


def region_remark(texts: Texts, folder_tells: bool) -> str:
    """Empty for what may be a lumbar slice, or why a person should look whether it is one.

    Parameters
    ----------
    folder_tells : bool
        Whether the series' folder is its own and not the patient's.

    Raises
    ------
    Rejected
        When all that is said speaks of another region.
    """
    series = _said(f"{texts.series} {texts.series_folder * folder_tells}")
    study = _said(f"{texts.study} {texts.study_folder}")
    body = _said(texts.body_part)
    said = [one for one in (series, study) if any(one)] or [one for one in (body,) if any(one)]
    if not said:
        other = _said(texts.only_folder).other and folder_tells
        return UNTOLD if other or _unknown(f"{texts.study} {texts.series} {texts.body_part}") else ""
    if not any(one.lumbar for one in said) or (series == (False, True) and study == (True, True)):
        raise Rejected("other body region")
    first, last = said[0], said[-1]
    sure = first == (True, False) and last.lumbar  # of a study of several regions, the series tells which
    return "" if sure else DISAGREE


@lru_cache(maxsize=1024)
def _unknown(text: str) -> bool:
    """Whether there is a word that might name a region: with four letters or more, and none of `GENERAL`."""
    return any(word not in GENERAL for word in re.findall(r"[^\W\d_]{4,}", text)) or not text.isascii()
