"""Radiologists' notes -> findings per disc level -> labels by the paper's rule.

A small hand-written grammar reads a note in four steps: words (with the typos of dictated notes), level expressions
(``L4-5``, ``L3 to S1``, "last two discs"), concepts (findings and what else may press on a nerve), and attachment
(which level a concept belongs to, and whether it is denied). Nothing is guessed: what the note leaves open is flagged.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import openpyxl
import pandas as pd
from rapidfuzz import process
from rapidfuzz.distance import OSA

from lhdlib.errors import UserError

LUMBAR_LEVELS = ("L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")
NO_LEVEL = "a positive finding without a level"
MULTILEVEL = "multilevel, but not every level is named"
NO_CHANGE = "refers to an earlier report"
ODD_LEVEL = "a disc level that does not exist or is transitional"

DISC_KINDS = ("bulge", "protrusion", "herniation", "extrusion", "sequestration", "annular tear")
COMPRESSION_KINDS = ("thecal sac compression", "nerve root compression", "foraminal narrowing")
POSITIVE_KINDS = frozenset(DISC_KINDS + COMPRESSION_KINDS)

# bounds on hostile workbooks and notes: rows, characters of a note and of a word, words of a sentence
MAX_ROWS, MAX_NOTE, MAX_WORD, MAX_SENTENCE = 100_000, 200_000, 25, 300
MAX_UNPACKED = 200_000_000  # bytes


@dataclass(frozen=True)
class Finding:
    """One finding at one disc level.

    Attributes
    ----------
    level : str or None
        Disc level such as ``"L4-L5"``; None when the note does not say where.
    kind : str
        ``"bulge"``, ``"protrusion"``, ``"thecal sac compression"``, ``"osteophyte"``, ...; a compression that the note
        blames on something other than the disc is ``"non-disc compression"``.
    negated : bool
        Whether the note denies it.
    start, end : int
        The words in the note: ``text[start:end]``.
    side : str
        ``"left"``, ``"right"``, ``"bilateral"``, ``"central"`` or empty.
    """

    level: str | None
    kind: str
    negated: bool
    start: int
    end: int
    side: str = ""


# --- words ------------------------------------------------------------------------------------------------------------

_WORDS = {
    "bulge": "bulge bulges bulging bulged buldge",
    "protrusion": "protrusion protrusions protruded protruding protrudes",
    "herniation": "herniation herniations herniated herniating hernia prolapse prolapses prolapsed plid pivd hnp",
    "extrusion": "extrusion extrusions extruded extruding",
    "sequestration": "sequestration sequestrated sequestered sequestrum sequester sequestra",
    "annular tear": "tear tears torn tearing fissure fissures fissuring rupture ruptured",
    "press": "compress compresses compressing compression compressed compressive indent indents indenting indented "
    "indentation encroach encroaches encroaching encroached encroachment abut abuts abutting abutted impinge impinges "
    "impinging impinged impingement efface effaces effacing effaced effacement obliterate obliterates obliterating "
    "obliterated obliteration touching touches displacing displaces displaced displacement irritating irritates "
    "irritation impression pressing pressure contacting contacts compromise compromising compromised entrapment "
    "deforming flattening occluding occlusion",
    "narrow": "narrow narrowing narrowed narrows stenosis stenosed stenotic stenosing",
    "sac": "thecal theca dural dura sac sacs sca thecalsac csf cauda equina cord conus",
    "root": "nerve nerves root roots rootlet rootlets radicle radicles",
    "foramen": "foramen foramina foramens foraminal foraminae neuroforamina neuroforaminal recess recesses recessus",
    "exit": "exit exits exiting exist existing neural neuronal",
    "canal": "canal canals",
    "disc": "disc discs disk disks disci dics dsic dsics intervertebral",
    "space": "space spaces height",
    "annulus": "annular annulus anular anulus",
    "osteophyte": "osteophyte osteophytes osteophytic spur spurs spurring",
    "listhesis": "spondylolisthesis listhesis anterolisthesis retrolisthesis spondylolithesis slippage",
    "fracture": "fracture fractures fractured retropulsed retropulsion retropulsing",
    "facet hypertrophy": "facet facets facetal apophyseal arthropathy",
    "ligament hypertrophy": "flavum flava ligamentum ligament ligamentous ligaments",
    "post-operative change": "granulation fibrous fibrosis scar scarring adhesion adhesions enhancement enhancing",
    "lesion": "lesion lesions mass masses tumor tumour tumors tumours metastasis metastases metastatic neoplasm "
    "cyst cysts collection collections abscess hematoma haematoma lipomatosis hemangioma hemangiomas "
    "haemangioma haemangiomas schwannoma meningioma discitis spondylodiscitis infection",
    "dehydration": "dehydration dehydrated desiccation desiccated desiccating dissecating dissicating dissicated "
    "dissecated dessicated dessicating degeneration degenerated degenerative",
    "end-plate change": "modic endplate endplates plate plates schmorl schmorls",
    "no": "no not without negative absence absent nor neither never nil lack denies free nonsignificant",
    "non": "non",
    "stop": "but however except although though apart otherwise",
    "or": "or",
    "and": "and plus",
    "with": "with along associated",
    "seen": "noted seen present evident identified detected appreciated demonstrated visualized visualised found "
    "observed depicted note revealed",
    "is": "is are was were be been",
    "at": "at in of on involving affecting opposite",
    "to": "to down till until through thru upto",
    "over": "over upon",
    "level": "level levels",
    "bone": "vertebra vertebrae vertebral body bodies vertebras pedicle pedicles lamina laminae",
    "grade": "mild small large moderate diffuse wide broad minimal slight severe focal minor huge tiny",
    "central": "central centrally midline",
    "left": "left lt",
    "right": "right rt",
    "bilateral": "both bilateral bilaterally",
    "place": "posterior posterolateral paracentral paramedian anterior lateral subarticular",
    "multilevel": "multilevel multilevels multilevelled",
    "multi": "multiple several various multisegmental different",
    "all": "all every whole entire",
    "last": "last lower lowest lowermost distal caudal bottom",
    "first": "first upper uppermost",
    "lumbar": "lumbar lumber",
    "other": "other others rest remaining remainder",
    "same": "same this these those such above abovementioned aforementioned mentioned that",
    "mainly": "mainly mostly mostly noticeably noticibly notably noteably noticeable especially particularly "
    "predominantly predominately largest most more maximally marked markedly worst worse prominent chiefly primarily",
    "due": "due secondary by from caused because owing",
    "spinal": "spinal",
    "joint": "junction",
    # words of these notes that are a letter or two from one above; known, they are never taken for typos
    "": "the a an it its as also well here there significant evidence definite marrow normal adequate "
    "bulky years rural sacral feature features muscle spasm material materials extending extended extension edema "
    "hypertrophy hyperatrophy hypertrophied signal intensity post previous surgery operation about contrast study "
    "leading relatively causing cause causes showing shows show compare compared comparison spine lumbosacral "
    "spondylotic spondylosis changes change unchanged fixation bone wedging wedge loss partial aspect "
    "structure pelvic cervical thoracic dorsal spared space narrowly arrow tissue tissues discectomy laminectomy mri "
    "lss mildly largely slightly severely mention still likely probable probably possible mostly",
}
_NUMBERS = {"one": 1, "single": 1, "two": 2, "both": 2, "three": 3, "four": 4, "five": 5}
_LEXICON = {word: tag for tag, words in _WORDS.items() for word in words.split()}
_LONG_WORDS = [word for word in _LEXICON if len(word) >= 5]


@lru_cache(maxsize=20_000)
def _tag(word: str) -> str:
    """Tag of a lower-case word, forgiving one typo in five letters, two in eight, three in twelve."""
    if word in _LEXICON:
        return _LEXICON[word]
    if not 5 <= len(word) <= MAX_WORD:
        return ""
    match = process.extractOne(word, _LONG_WORDS, scorer=OSA.distance, score_cutoff=min(len(word) // 4, 3))
    return _LEXICON[match[0]] if match else ""


class Token(NamedTuple):
    """A word, number, vertebra or mark of the note; `tag` is its part in the grammar."""

    tag: str
    word: str
    start: int
    end: int


_TOKEN = re.compile(
    r"(?P<vertebra>(?:(?<![^\W\d_])|(?<=\bat)|(?<=\band))(?:[CDTS] ?|L[ -]?)[0-9]{1,2}(?![0-9]))"
    r"|(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<word>(?:at|and)(?=[DTLS][0-9])|[^\W\d_]+)"
    r"|(?P<cut>\n|///?|[;|•])|(?P<mark>[-–—−‐/\\,&.:()+?*_=])",
    re.IGNORECASE,
)
_MARKS = {**dict.fromkeys("-–—−‐_=", "-"), "\\": "/", "+": "and", "&": "and"}


def _tokens(text: str) -> list[Token]:
    """Words and marks of a note in reading order; "discbulge" is split in two, "bul ge" is mended."""
    out: list[Token] = []
    for match in _TOKEN.finditer(text):
        word, (start, end) = match.group().lower(), match.span()
        if match.lastgroup != "word":
            tag = "cut" if match.lastgroup == "cut" else _MARKS.get(word, word)
            out.append(Token(tag if match.lastgroup in ("cut", "mark") else match.lastgroup, word, start, end))
            continue
        before = out[-1] if out else None
        tag = _tag(word)
        if not tag and before and not before.tag and before.word.isalpha() and text[before.end : start] == " ":
            whole = before.word + word
            if word not in _LEXICON and before.word not in _LEXICON and len(whole) >= 5 and _LEXICON.get(whole):
                out[-1] = Token(_LEXICON[whole], whole, before.start, end)
                continue
        cut = 0 if tag or word in _LEXICON else _joint(word)
        if cut:
            out.append(Token(_LEXICON[word[:cut]], word[:cut], start, start + cut))
            word, start = word[cut:], start + cut
            tag = _LEXICON[word]
        out.append(Token(tag, word, start, end))
    return out


def _joint(word: str) -> int:
    """Where two known words run together, else 0."""
    if len(word) > MAX_WORD:
        return 0
    return next((i for i in range(2, len(word) - 2) if word[:i] in _LEXICON and word[i:] in _LEXICON), 0)


_DANGLING = {"at", "and", "or", "no", "with", "to", "bilateral", "press"}


def _sentences(tokens: list[Token]) -> Iterator[list[Token]]:
    """Split at full stops, line ends and bullets; a line that ends in "of", "and", "no", ... runs on."""
    sentence: list[Token] = []
    for token in tokens:
        if token.tag == "cut" and token.word == "\n" and sentence and sentence[-1].tag in _DANGLING:
            continue
        if token.tag not in ("cut", "."):
            sentence.append(token)
        if sentence and (token.tag in ("cut", ".") or len(sentence) >= MAX_SENTENCE):
            yield sentence
            sentence = []
    if sentence:
        yield sentence


# --- levels -----------------------------------------------------------------------------------------------------------

_VERTEBRAE = [f"{region}{i}" for region, last in (("C", 7), ("T", 12), ("L", 5), ("S", 5)) for i in range(1, last + 1)]
_PLACE = {name: i for i, name in enumerate(_VERTEBRAE)} | {f"D{i}": 6 + i for i in range(1, 13)}
_L5 = _PLACE["L5"]


class Group(NamedTuple):
    """A level expression: tokens ``first`` to ``last`` (exclusive) name ``levels``.

    `role` is "named", "multi" (several, not said which), "other" (the rest), "same" (those spoken of last) or "odd".
    """

    first: int
    last: int
    levels: tuple[str, ...]
    role: str = "named"


def _discs(top: int, bottom: int) -> list[str]:
    return [f"{_VERTEBRAE[i]}-{_VERTEBRAE[i + 1]}" for i in range(top, bottom)]


def _vertebrae(token: Token) -> list[int] | None:
    """Positions down the spine of "L4" (one) or "L45" (two); None when there is no such vertebra ("L6")."""
    region, digits = token.word[0].upper(), token.word[1:].strip(" -")
    name = region + str(int(digits))
    if name in _PLACE:
        return [_PLACE[name]]
    pair = [_PLACE.get(region + digit) for digit in digits]
    if None not in pair and pair[-1] - pair[0] == 1:
        return pair
    return None


def _next_vertebra(sentence: list[Token], i: int, last: int) -> list[int] | None:
    """Vertebrae named by token i as the continuation of a chain that ended at vertebra `last`; None when it is none."""
    if i >= len(sentence):
        return None
    token, after = sentence[i], sentence[i + 1 : i + 2]
    if token.tag == "vertebra":
        return _vertebrae(token)
    if token.tag == "number" and token.word.isdigit() and not (after and after[0].word in ("mm", "cm", "x", "*")):
        digit = int(token.word[-1])  # "L4/15" is a slip for "L4/l5"
        expected = 1 if last in (_PLACE["T12"], _L5) else int(_VERTEBRAE[last][1:]) + 1
        if digit == expected and len(token.word) <= 2:
            return [last + 1] if last + 1 < len(_VERTEBRAE) else None
        if len(token.word) == 1 and sentence[i - 1].tag == "-" and _PLACE["L1"] <= last < _L5 and expected < digit <= 5:
            return [_PLACE[f"L{digit}"]]
    if token.word in ("s", "si", "sl") and last == _L5:
        return [last + 1]
    return None


_LINKS = {"-": "-", "to": "-", "/": "/", ",": ",", "and": "and", "over": "over", "level": "", ":": ""}


def _link(sentence: list[Token], i: int) -> tuple[str, int]:
    """What joins the vertebra before token i to the next, and where that stands; "" when they do not belong together.

    "-" for a span, "/" for a pair, "," and "and" for a list, "over" for a slipped vertebra.
    """
    j = i
    while j < len(sentence) and j - i < 4 and sentence[j].tag in _LINKS:
        j += 1
    link = next(filter(None, (_LINKS[token.tag] for token in sentence[i:j])), "")
    if j < len(sentence) and link and sentence[j].word == "the":
        j += 1
    if j == i and j < len(sentence) and sentence[j].tag == "vertebra" and sentence[j].start <= sentence[j - 1].end + 1:
        return "-", j  # "L5S1"
    is_heading = any(token.tag == ":" for token in sentence[i:j]) and link in (",", "and")
    return ("" if is_heading else link), j


def _chain(sentence: list[Token], start: int) -> Group | None:
    """Level expression that starts with the vertebra at a token: "L4/5", "L3-S1", "L3 to L5", "L4 over L5"."""
    points = _vertebrae(sentence[start])
    if points is None:
        return Group(start, start + 1, (), "odd") if sentence[start].word[0] == "l" else None
    links = ["-"] * (len(points) - 1)
    i = start + 1
    while True:
        link, j = _link(sentence, i)
        following = _next_vertebra(sentence, j, points[-1]) if link else None
        if following is None:
            break
        if link in (",", "and") and links and links[-1] not in (",", "and"):
            # "L4-L5 & S1" goes on; "L3-L4 & L4-L5" and "L4-L5, S1 root" do not
            after = [token.tag for token in sentence[j + 1 : j + 2]]
            if following != [points[-1] + 1] or {"-", "/", "root", "exit", "bone", "left", "right"} & set(after):
                break
        links += [link] + ["-"] * (len(following) - 1)
        points += following
        i = j + 1
    after = sentence[i].tag if i < len(sentence) else ""
    if len(points) < 2 or after in ("root", "bone"):
        return None
    is_list = set(links) <= {",", "and"} and all(token.tag != "number" for token in sentence[start:i])
    if is_list and after not in ("disc", "level") and not (start and sentence[start - 1].word == "between"):
        return None  # "L3 and L4 hemangiomas" are vertebrae
    if points == [_PLACE["T1"], _PLACE["T2"]]:  # the weightings
        return None
    levels: list[str] = []
    for a, b, link in zip(points, points[1:], links, strict=False):
        if not (link == "/" and len(points) == 4 and abs(b - a) > 1):  # "L1-L2/L4-L5" is two discs
            levels += _discs(min(a, b), max(a, b))
    return Group(start, i, tuple(dict.fromkeys(levels)), "named" if levels else "odd")


_QUANTIFIERS = {"multilevel", "multi", "all", "last", "first", "lumbar", "other", "same", "disc", "level", "joint"}


def _phrase(sentence: list[Token], i: int) -> Group | None:
    """Level expression in words that starts at token i: "last two discs", "all lumbar levels", "the other discs"."""
    tags: list[str] = []
    count, j = 0, i
    while j < len(sentence) and j - i < 7:
        token = sentence[j]
        if token.word in _NUMBERS or (token.tag == "number" and token.word in tuple("12345")):
            count = _NUMBERS.get(token.word) or int(token.word)
        elif token.tag in _QUANTIFIERS:
            tags.append(token.tag)
        elif not (j > i and token.word in ("of", "the", "visualized", "imaged", "lumbosacral", "spine", "-")):
            break
        j += 1
        if tags and tags[-1] in ("disc", "level", "joint") and not (j < len(sentence) and sentence[j].tag == "level"):
            break
    plural = sentence[j - 1].word.endswith("s")
    if not tags or tags[-1] not in ("disc", "level") or j - i < 2:
        return Group(i, i + 1, (), "multi") if sentence[i].tag == "multilevel" else None
    if "other" in tags:
        return Group(i, j, (), "other")
    if "multi" in tags or "multilevel" in tags:
        return Group(i, j, (), "multi")
    if "all" in tags:
        return Group(i, j, LUMBAR_LEVELS)
    for tag, from_end in (("last", True), ("first", False)):
        if tag in tags:
            count = count or (0 if plural else 1)
            levels = LUMBAR_LEVELS[-count:] if from_end else LUMBAR_LEVELS[:count]
            return Group(i, j, levels) if count else Group(i, j, (), "multi")
    if "same" in tags or (count == 2 and tags[-1] == "level"):
        return Group(i, j, (), "same")
    if tags == ["lumbar", "disc"] and plural:
        return Group(i, j, LUMBAR_LEVELS)
    return None


def _groups(sentence: list[Token]) -> list[Group]:
    """Level expressions of a sentence; those joined by nothing but commas, "and", "at", ... are one."""
    found: list[Group] = []
    i = 0
    while i < len(sentence):
        group = _chain(sentence, i) if sentence[i].tag == "vertebra" else _phrase(sentence, i)
        if group:
            before = found[-1] if found else None
            if before and before.role == group.role == "named" and _is_glue(sentence[before.last : group.first]):
                levels = tuple(dict.fromkeys(before.levels + group.levels))
                found[-1] = Group(before.first, group.last, levels)
            else:
                found.append(group)
        i = group.last if group else i + 1
    return found


def _is_glue(tokens: list[Token]) -> bool:
    glue = {",", "and", "/", "at", "level", "disc", "(", ")", "to", "with", "-"}
    return all(token.tag in glue or token.word in ("the", "also", "as", "well", "both", "noted") for token in tokens)


# --- concepts ---------------------------------------------------------------------------------------------------------

_CAUSES = frozenset(
    "osteophyte|listhesis|fracture|facet hypertrophy|ligament hypertrophy|post-operative change|lesion".split("|")
)
_OTHER_KINDS = _CAUSES | {"dehydration", "end-plate change", "spinal canal stenosis"}


class Concept(NamedTuple):
    """A finding of `kind` at tokens ``first`` to ``last`` (exclusive) of a sentence."""

    kind: str
    first: int
    last: int


def _concepts(sentence: list[Token], groups: list[Group]) -> list[Concept]:
    """Findings of a sentence, in reading order."""
    tags = [token.tag for token in sentence]
    about_disc = bool(groups) or "disc" in tags or "annulus" in tags
    out: list[Concept] = []
    for i, tag in enumerate(tags):
        near = tags[max(0, i - 2) : i]
        if tag in DISC_KINDS:
            if tag in ("bulge", "protrusion") and "ligament hypertrophy" in near:
                continue
            if tag in ("herniation", "annular tear") and not about_disc:  # of the bowel, of a muscle
                continue
            if "end-plate change" in tags[max(0, i - 3) : i + 4] and tag == "herniation" and "disc" not in near:
                continue
            out.append(Concept(tag, i, i + 1))
        elif tag in ("press", "narrow"):
            out += _compressions(tags, i)
        elif tag in _OTHER_KINDS:
            out.append(Concept(tag, i, i + 1))
    return sorted(out, key=lambda concept: concept.first)


_STRUCTURES = {"sac": "thecal sac compression", "root": "nerve root compression", "foramen": "foraminal narrowing"}
_BEFORE_VERB = {"sac", "root", "foramen", "exit", "canal", "or", "and", ",", "/", "is", "left", "right", "bilateral"}


def _structure(tags: list[str], i: int) -> str:
    """What token i lets a verb of pressing press upon: "sac", "root", "foramen" or nothing."""
    if tags[i] == "canal":
        before = tags[max(0, i - 2) : i]
        return "foramen" if {"exit", "root", "foramen", "bilateral"} & set(before) and "spinal" not in before else ""
    return tags[i] if tags[i] in _STRUCTURES else ""


def _compressions(tags: list[str], i: int) -> list[Concept]:
    """What the verb or noun of pressing at token i presses upon, said after it or just before it."""
    if "fracture" in tags[i + 1 : i + 2]:
        return []
    narrow = tags[i] == "narrow"
    stops = {"press", "narrow", "stop", "no", *DISC_KINDS} | ({"disc", "space", "spinal"} if narrow else {","})
    found: dict[str, tuple[int, int]] = {}
    for j in range(i + 1, min(i + 13, len(tags))):
        if tags[j] in stops:
            break
        if _structure(tags, j):
            found.setdefault(_structure(tags, j), (i, j + 1))
    if not found and not (narrow and {"disc", "space", "spinal"} & set(tags[i + 1 : i + 3])):  # "the sac is compressed"
        j = i - 1
        while j >= max(0, i - 10) and (tags[j] in _BEFORE_VERB or not tags[j]) and not (narrow and tags[j] == ","):
            if _structure(tags, j):
                found[_structure(tags, j)] = (j, i + 1)
            j -= 1
    if not found and narrow and "canal" in tags[max(0, i - 3) : i + 4]:
        return [Concept("spinal canal stenosis", i, i + 1)]
    return [Concept(_STRUCTURES[structure], *span) for structure, span in found.items()]


_NOUNS = POSITIVE_KINDS | _OTHER_KINDS | {"press", "narrow", "seen"}


def _denied(sentence: list[Token], groups: list[Group]) -> list[bool]:
    """For each token whether it lies in the reach of a negation."""
    tags = [token.tag for token in sentence]
    headings = {group.first for group in groups if tags[group.last : group.last + 1] == [":"]}
    starts = [group.first for group in groups]
    last_noun = max((i for i, tag in enumerate(tags) if tag in DISC_KINDS), default=-1)
    denied = [False] * len(tags)
    reach = False
    since_comma = 0
    segment_end = -1
    open_list = False
    for i, tag in enumerate(tags):
        if i > segment_end:  # look ahead once per segment, so that the whole stays linear
            segment_end = next((j for j in range(i, len(tags)) if tags[j] == ","), len(tags))
            segment = tags[i:segment_end]
            open_list = "or" in segment or any(token.word == "nor" for token in sentence[i:segment_end])
            fresh = any(t in DISC_KINDS for t in segment) and any(i <= s < segment_end for s in starts)
            if reach and fresh and not open_list and any(t in _NOUNS for t in tags[since_comma:i]):
                reach = False
            since_comma = i
        is_loose = sentence[i].word == "free" and tags[i + 1 : i + 2] != ["at"]  # "a free fragment" denies nothing
        if tag == "no" and not is_loose:
            reach = not (sentence[i].word == "not" and _denies_what_precedes(tags, i))
            if not reach:
                j = i - 1
                while j >= 0 and tags[j] not in (",", "stop", "no"):
                    denied[j] = True
                    j -= 1
        elif tag == "stop" or i in headings or (i in starts and tags[i - 1 : i] in ([","], ["and"]) and i < last_noun):
            reach = False
        elif reach and not open_list and tag in ("grade", "central", "left", "right", "place") and i:
            if tags[i - 1] in (",", "seen") or (tag == "grade" and tags[i - 1] in ("and", "with")):
                reach = False
        denied[i] = denied[i] or reach or (i > 0 and "non" in tags[max(0, i - 2) : i])
    return denied


def _denies_what_precedes(tags: list[str], i: int) -> bool:
    """Whether "not" speaks of what stands before it: "... is not seen", "... are not present"."""
    return tags[max(0, i - 1) : i] == ["is"] and "seen" in tags[i + 1 : i + 4]


# --- attachment -------------------------------------------------------------------------------------------------------


def _owners(sentence: list[Token], groups: list[Group], concepts: list[Concept], k: int) -> list[Group]:
    """The level expressions of this sentence that concept k belongs to; none when the sentence has none.

    "Bulge at L4-L5 compressing the sac" looks back for the compression, "bulge at L4-L5, tear at L5-S1" forward for the
    tear, "L4-L5: bulge" back; "multilevel bulges, largest at L4-L5" belongs to both.
    """
    concept = concepts[k]
    before = [group for group in groups if group.last <= concept.first]
    after = [group for group in groups if group.first >= concept.last]
    inside = [group for group in groups if concept.first < group.first and group.last <= concept.last]
    if inside:
        return inside[:1]
    if not before or not after:
        return before[-1:] or after[:1]
    target = after[0]
    gap = sentence[concept.last : target.first]
    is_heading = target.last < len(sentence) and sentence[target.last].tag == ":"
    if is_heading or _is_emphasis(sentence, target):
        return [before[-1]] if is_heading else [before[-1], target]
    rivals = [other for other in concepts[k + 1 :] if other.first >= concept.last and other.last <= target.first]
    if rivals:  # "bulge with tear at L5-S1": both
        between = [token.tag for token in sentence[concept.last : rivals[0].first]]
        opened = [token.tag for token in sentence[before[-1].last : concept.first]]
        return [target if "with" in between and "," not in between and "with" not in opened else before[-1]]
    level_first = concepts[0].first > groups[0].first
    reached = [token.tag for token in gap if token.word != "the"]
    introduced = bool(reached) and reached[-1] in ("at", "(", "level") and not {",", "and"} & set(reached)
    return [target if introduced or (not level_first and concept.kind in DISC_KINDS) else before[-1]]


def _is_emphasis(sentence: list[Token], group: Group) -> bool:
    """ "... mainly at L4-L5": a level singled out of others."""
    return any(token.tag == "mainly" for token in sentence[max(0, group.first - 3) : group.first])


def _side(sentence: list[Token], concept: Concept, floor: int) -> str:
    """Side named nearest before a concept, or within it."""
    for token in reversed(sentence[max(floor, concept.first - 8) : concept.last]):
        if token.tag in ("left", "right", "bilateral", "central"):
            return token.tag
    return ""


def _blames_another(concepts: list[Concept], k: int, denied: list[bool], tags: list[str], carried: str) -> bool:
    """Whether the sentence blames compression k on something that is not the disc."""
    concept = concepts[k]
    earlier = [c.kind for c in concepts[:k] if c.last <= concept.first and not denied[c.first]]
    if any(kind in DISC_KINDS for kind in earlier):
        return False
    if any(kind in _CAUSES for kind in earlier):
        return True
    for later in concepts[k + 1 :]:
        if later.kind in _CAUSES and "due" in tags[concept.last : later.first][-4:]:
            return True
    return not earlier and carried in _CAUSES


def parse_report(text: str) -> list[Finding]:
    """Findings of a radiologist's note, one per disc level, in reading order.

    Parameters
    ----------
    text : str
        The note, of which the first 200,000 characters count; what is not a string (an empty cell) has no findings.

    Returns
    -------
    list of Finding
        Denied findings and findings that do not make a disc positive are among them.
    """
    return [finding for finding, _ in _read(text)]


def _read(text: str) -> list[tuple[Finding, str]]:
    """Findings, each with the role of the level expression it hangs on ("" when there is none)."""
    if not isinstance(text, str):
        return []
    out: list[tuple[Finding, str]] = []
    heading = Group(0, 0, (), "")  # levels under which level-less sentences stand: "L4-L5: bulge. Tear noted."
    last = heading  # levels spoken of last
    named: dict[str, None] = {}  # all levels so far, for "the other discs"
    carried = ""  # what was spoken of last, for "... . It compresses the thecal sac"
    for sentence in _sentences(_tokens(text[:MAX_NOTE])):
        groups = [_resolved(group, last, named) for group in _groups(sentence)]
        concepts = _concepts(sentence, groups)
        denied = _denied(sentence, groups)
        tags = [token.tag for token in sentence]
        spoken: list[str] = []
        floor = 0
        for k, concept in enumerate(concepts):
            owners = _owners(sentence, groups, concepts, k)
            if not owners:
                is_new = concept.kind in DISC_KINDS and concept.kind != "annular tear"
                owners = [heading if is_new or concept.kind in _OTHER_KINDS else last]
            elif heading.levels and owners[0] == groups[0] and _is_emphasis(sentence, groups[0]):
                owners = [heading, *owners]
            kind = concept.kind
            if kind in COMPRESSION_KINDS and _blames_another(concepts, k, denied, tags, "" if groups else carried):
                kind = "non-disc compression"
            start, end = sentence[concept.first].start, sentence[concept.last - 1].end
            side = _side(sentence, concept, floor)
            for owner in owners:
                for level in owner.levels or (None,):
                    out.append((Finding(level, kind, denied[concept.first], start, end, side), owner.role))
            if not denied[concept.first] and kind in _CAUSES | set(DISC_KINDS):
                spoken.append(kind)
            floor = concept.last
        if groups:
            level_first = not concepts or groups[0].first < concepts[0].first
            heading = groups[-1] if level_first else Group(0, 0, (), "")
            last = groups[-1]
            named |= dict.fromkeys(level for group in groups for level in group.levels)
        if concepts:
            carried = next((kind for kind in spoken if kind in DISC_KINDS), spoken[-1] if spoken else "")
    return out


def _resolved(group: Group, last: Group, named: Iterable[str]) -> Group:
    """A group whose "other" or "same" levels are looked up in what was said before."""
    if group.role == "same" and last.levels:
        return group._replace(levels=last.levels)
    if group.role == "other":
        known = set(named)
        return group._replace(levels=tuple(level for level in LUMBAR_LEVELS if known and level not in known))
    return group


# --- labels -----------------------------------------------------------------------------------------------------------

_NO_CHANGE = re.compile(
    r"\b(?:no|without)\b[^.\n]{0,30}?\bchanges?\b[^.\n]{0,30}?\b(?:since|from|compar\w{0,8}|previous|prior|last)\b"
    r"|\b(?:no|without) (?:\w{1,15} )?interval change|\bunchanged\b|\bstationary\b"
    r"|\bas (?:compared|previously|before)\b|\bsame as (?:the )?(?:previous|prior|last|before)\b",
    re.IGNORECASE,
)


_NECK = re.compile(r"\bc\b\W{0,3}spine\b|\bcervical\b", re.IGNORECASE)
_BACK = re.compile(r"\blss\b|\blumb|\bl\b\W{0,3}spine\b|\bL[1-5]\b", re.IGNORECASE)


def _neck_edges(text: str) -> list[int]:
    """Where parts of a note begin and end (in turn) that stand under a line about the cervical spine alone."""
    edges: list[int] = []
    position = 0
    for line in text.splitlines(keepends=True):
        inside = len(edges) % 2 == 1
        if (inside and _BACK.search(line)) or (not inside and _NECK.search(line) and not _BACK.search(line)):
            edges.append(position)
        position += len(line)
    return edges


def _is_positive(finding: Finding) -> bool:
    return finding.kind in POSITIVE_KINDS and not finding.negated


def disc_labels(text: str) -> dict[str, bool]:
    """Disc levels that a note makes positive, by the paper's rule; levels that are absent are negative.

    A level is positive when bulging, protrusion, herniation, extrusion, sequestration, an annular tear, or compression
    of the thecal sac, a nerve root or a foramen by the disc (or by nothing that is named) is noted there.

    Parameters
    ----------
    text : str
        The note.

    Returns
    -------
    dict of str to bool
        Level, such as ``"L4-L5"``, to True; thoracic levels may be among them, cervical ones never.
    """
    levels = {f.level for f in parse_report(text) if f.level and f.level[0] != "C" and _is_positive(f)}
    return dict.fromkeys(sorted(levels, key=lambda level: _PLACE[level.split("-")[0]]), True)


def note_flags(text: str) -> list[str]:
    """Why a person should look at a note: what it leaves open. Empty when it can be decided.

    Parameters
    ----------
    text : str
        The note.

    Returns
    -------
    list of str
        Any of `NO_LEVEL`, `MULTILEVEL`, `NO_CHANGE`, `ODD_LEVEL`.
    """
    if not isinstance(text, str):
        return []
    flags = []
    neck = _neck_edges(text)
    open_roles = [
        role
        for finding, role in _read(text)
        if finding.level is None and _is_positive(finding) and bisect_right(neck, finding.start) % 2 == 0
    ]
    if any(role in ("", "same", "other") for role in open_roles):
        flags.append(NO_LEVEL)
    if "multi" in open_roles:
        flags.append(MULTILEVEL)
    if "odd" in open_roles:
        flags.append(ODD_LEVEL)
    if _NO_CHANGE.search(text[:MAX_NOTE]):
        flags.append(NO_CHANGE)
    return flags


def label_table(notes: pd.DataFrame) -> pd.DataFrame:
    """Labels of the five lumbar discs of every patient who has a note.

    Parameters
    ----------
    notes : DataFrame
        Columns ``patient`` and ``note``, as from `read_notes`; empty notes say nothing and give no rows.

    Returns
    -------
    DataFrame
        Columns ``patient, level, label, flag``. A positive label is decided, a negative one only where ``flag`` is
        empty.
    """
    rows = []
    for patient, note in zip(notes["patient"], notes["note"], strict=True):
        if not isinstance(note, str) or not note.strip():
            continue
        labels, flag = disc_labels(note), "; ".join(note_flags(note))
        for level in LUMBAR_LEVELS:
            label = level in labels
            rows.append((patient, level, label, "" if label else flag))
    return pd.DataFrame(rows, columns=["patient", "level", "label", "flag"])


def read_notes(path: str | Path) -> pd.DataFrame:
    """The radiologists' workbook as a table.

    Parameters
    ----------
    path : str or Path
        ``Radiologists Report.xlsx``: sheet ``Sheet1`` (or the first), columns ``Patient ID`` and ``Clinician's Notes``.

    Returns
    -------
    DataFrame
        Columns ``patient`` (four digits) and ``note``, a row per patient; an empty note is an empty string.

    Raises
    ------
    UserError
        The workbook is missing, unreadable, or has other columns.
    """
    path = Path(path)
    remedy = "download the radiologists' notes (doi 10.17632/s6bgczr8s2) again"
    if not path.is_file():
        raise UserError(f"No workbook of notes at {path}: {remedy}, or correct the path.")
    try:
        with ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED:
                raise ValueError("it unpacks to an absurd size")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            sheet = book["Sheet1"] if "Sheet1" in book.sheetnames else book.worksheets[0]
            sheet.reset_dimensions()  # the file's own statement of its size is not to be trusted
            rows = list(sheet.iter_rows(max_row=MAX_ROWS, max_col=50, values_only=True))
        finally:
            book.close()
    except Exception as error:  # a damaged archive or damaged XML fails in any of the libraries beneath
        raise UserError(f"{path} cannot be read as an Excel workbook ({type(error).__name__}): {remedy}.") from error
    header = [re.sub(r"[^a-z]", "", str(cell or "").lower()) for cell in rows[0]] if rows else []
    if "patientid" not in header or "cliniciansnotes" not in header:
        raise UserError(f"{path} lacks the columns 'Patient ID' and \"Clinician's Notes\" in its first row: {remedy}.")
    columns = header.index("patientid"), header.index("cliniciansnotes")
    table = []
    for row in rows[1:]:
        cells = [row[c] if c < len(row) else None for c in columns]
        patient = re.fullmatch(r"\s*([0-9]{1,4})(?:\.0)?\s*", str(cells[0]))
        if patient:
            note = "" if cells[1] is None else str(cells[1]).strip()
            table.append((f"{int(patient[1]):04d}", note[:MAX_NOTE]))
    return pd.DataFrame(table, columns=["patient", "note"])
