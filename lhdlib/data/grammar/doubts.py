"""Doubts that a note leaves: words that the grammar does not use, levels of which it understood nothing."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rapidfuzz.distance import OSA

from lhdlib.data.grammar.findings import DISC_KINDS, POSITIVE_KINDS, Statement
from lhdlib.data.grammar.levels import LUMBAR_LEVELS, Group
from lhdlib.data.grammar.words import MAX_NOTE, NUMBERS, Token, known_word

NO_LEVEL = "a positive finding without a level"
MULTILEVEL = "multilevel, but not every level is named"
NO_CHANGE = "refers to an earlier report"
ODD_LEVEL = "a disc level that does not exist or is transitional"
NOT_LUMBAR = "nothing that is said of lumbar discs is understood"
LANGUAGE = "words of another language"
UNKNOWN = "words that the grammar does not know"
IDLE = "a denial, doubt or exception that hangs on nothing"
SUSPECTED = "only suspected, or asked for"
PAST = "a finding of the past"
UNCLEAR = "abnormal, but not how"
BARE = "nothing understood of this level or number"
BARE_DISC = "nothing understood of this disc"
CONTRADICTION = "called both normal and not"


class Doubt(NamedTuple):
    """A reason why some levels are undecided (all, where `levels` is empty), and the words of the note that caused it.

    Where it `spoils`, what is found at these levels is undecided too; else only what is not.
    """

    reason: str
    words: str
    levels: tuple[str, ...] = ()
    spoils: bool = False


def find_doubts(text: str, statements: Sequence[Statement]) -> list[Doubt]:
    """Everything that a note leaves open, in reading order."""
    text = text[:MAX_NOTE]
    out: list[Doubt] = []
    for statement in statements:
        if not statement.request:
            for check in _CHECKS:
                out += check(text, statement)
    out += _contradictions(statements)
    is_lumbar = bool(_LUMBAR.search(text))
    if not any(_is_about_lumbar_discs(statement, is_lumbar) for statement in statements if not statement.request):
        out.append(Doubt(NOT_LUMBAR, " ".join(text[:60].split()), (), True))
    return list(dict.fromkeys(out))


def _words(text: str, tokens: Sequence[Token]) -> str:
    """A piece of the note, on one line."""
    return " ".join(text[tokens[0].start : tokens[-1].end].split())


def _is_of_discs(statement: Statement) -> bool:
    """Whether a sentence decides something of lumbar discs."""
    levels = {level for group in statement.groups for level in group.levels}
    levels |= {f.level for f, _ in statement.findings if f.level and f.kind in POSITIVE_KINDS}
    if levels:
        return bool(levels & set(LUMBAR_LEVELS))
    lesion = any(finding.kind in POSITIVE_KINDS for finding, _ in statement.findings)
    return lesion or any(token.tag == "disc" for token in statement.sentence)


# --- sentence by sentence ---------------------------------------------------------------------------------------------


def _open_roles(text: str, statement: Statement) -> Iterator[Doubt]:
    """Positive findings whose levels are not all given."""
    for finding, role in statement.findings:
        if finding.level is None and finding.kind in POSITIVE_KINDS and not finding.negated:
            words = " ".join(text[finding.start : finding.end].split())
            yield Doubt({"multi": MULTILEVEL, "odd": ODD_LEVEL}.get(role, NO_LEVEL), words)


def _suspected(text: str, statement: Statement) -> Iterator[Doubt]:
    for finding, _ in statement.findings:
        if finding.doubted and not finding.negated and finding.kind in POSITIVE_KINDS:
            yield Doubt(SUSPECTED, _words(text, statement.sentence), (finding.level,) if finding.level else ())


def _idle(text: str, statement: Statement) -> Iterator[Doubt]:
    """Operators that reach nothing, where the sentence is about discs."""
    if not _is_of_discs(statement):
        return
    sentence = statement.sentence
    tokens = [sentence[i] for i in statement.reach.idle]
    excepted = any(group.role == "excepted" for group in statement.groups)
    for i, token in enumerate(sentence):
        if token.tag == "except" and not excepted:
            main = {t.tag for t in sentence[:i]} | {"level" for group in statement.groups if group.last <= i}
            if not set(DISC_KINDS) & {t.tag for t in sentence[i:]} or not main & {"no", "normal", "level"}:
                tokens.append(token)
        is_denied = "no" in {t.tag for t in sentence[max(0, i - 6) : i]}
        if token.tag == "new" and is_denied and "change" not in {t.tag for t in sentence[i : i + 3]}:
            tokens.append(token)  # "no new herniation" leaves the old one open
        if token.tag == "normal" and (statement.reach.denied[i] or statement.reach.doubted[i]):
            tokens.append(token)
        if _hangs_loose(statement, i):
            tokens.append(token)
    if excepted and not any(concept.kind in DISC_KINDS for concept in statement.concepts):
        tokens += [token for token in sentence if token.tag in ("except", "no") or token.word == "but"]
    for token in tokens:
        yield Doubt(IDLE, _words(text, [token]), statement.levels(), True)


def _hangs_loose(statement: Statement, i: int) -> bool:
    """Whether a word takes levels out, or in, that it does not name, or whose sentence goes on otherwise.

    Such as "all discs except the last bulge", "no bulge, only L4-L5", "rather than L5-S1 the L4-L5 disc bulges".
    """
    sentence = statement.sentence
    following = [t for t in sentence[i + 1 : i + 3] if t.word not in ("the", "at", "for")]
    group = next((g for g in statement.groups if i < g.first <= i + 2), None)
    if sentence[i].tag == "except":
        return bool(following) and following[0].tag in ("last", "first", "number") and group is None
    if sentence[i].word in ("rather than", "instead of"):
        return group is not None and group.role != "excepted"
    if sentence[i].word in _ONLY and group:
        is_denied = any(statement.reach.denied[:i])
        return is_denied and not set(DISC_KINDS) & {t.tag for t in sentence[i:]}
    return False


_ONLY = {"only", "just", "merely", "solely"}


def _either(text: str, statement: Statement) -> Iterator[Doubt]:
    """One of two levels: "bulge at L4-L5 or L5-S1"."""
    positive = {f.level for f, _ in statement.findings if not f.negated and f.kind in POSITIVE_KINDS}
    for group in statement.groups:
        inside = statement.sentence[group.first : group.last]
        if positive & set(group.levels) and any(token.tag == "or" for token in inside):
            yield Doubt(SUSPECTED, _words(text, inside), group.levels, True)


def _carried(text: str, statement: Statement) -> Iterator[Doubt]:
    """A denial of one lesion that may go on to another lesion elsewhere: "no bulge at L3-L4 and a tear at L4-L5"."""
    sentence, denied = statement.sentence, statement.reach.denied
    joints = [i for i, token in enumerate(sentence) if token.tag in (",", "and", "with", "stop")]
    for first, i, last in zip([0, *joints], joints, [*joints[1:], len(sentence)], strict=False):
        parts = range(first, i), range(i + 1, last)
        if not denied[i] or sentence[i].tag not in ("and", "with") or last - i < 2 or sentence[i + 1].tag == "no":
            continue
        if not denied[i + 1] and sentence[i + 1].tag != "absent":  # its reach has ended
            continue
        groups = [next((g for g in statement.groups if g.first in part), None) for part in parts]
        if all(groups) and all(any(sentence[j].tag in (*DISC_KINDS, "unclear") for j in part) for part in parts):
            yield Doubt(IDLE, _words(text, sentence[i:last]), groups[1].levels if groups[1] else (), True)


def _change(text: str, statement: Statement) -> Iterator[Doubt]:
    """Changes ("no change", "stationary", "improved"): what there was before is not in this note."""
    tags = [token.tag for token in statement.sentence]
    has_finding = any(f.level and not f.negated and f.kind in POSITIVE_KINDS for f, _ in statement.findings)
    for i, token in enumerate(statement.sentence):
        if token.tag != "change":
            continue
        denied = "no" in tags[max(0, i - 7) : i]
        lesser = token.word.startswith(("improv", "regress"))
        same = token.word in ("unchanged", "stationary", "stable", "static")
        if lesser and not denied and _is_of_discs(statement):
            yield Doubt(SUSPECTED, _words(text, statement.sentence), statement.levels(), True)
        elif not has_finding and (same or (denied and _is_change(statement.sentence, i))):
            yield Doubt(NO_CHANGE, _words(text, statement.sentence))
    if not has_finding and _EARLIER.search(_words(text, statement.sentence)):
        yield Doubt(NO_CHANGE, _words(text, statement.sentence))


_EARLIER = re.compile(
    r"\bas (?:compared|previously|before)\b|\bsame as (?:the )?(?:previous|prior|last|before)\b", re.I
)


def _is_change(sentence: Sequence[Token], i: int) -> bool:
    """Whether the change at token i is one since an earlier study, not one of a part ("no bony changes")."""
    start = max(j for j in range(i) if sentence[j].tag == "no")
    between = sentence[start + 1 : i]
    of_part = any(token.word in ("bony", "bone", "marrow") for token in between)
    return not of_part and {token.tag for token in between} <= {"", "grade", "seen", "change", "hedge", "all", "new"}


def _past(text: str, statement: Statement) -> Iterator[Doubt]:
    """Findings of the past ("previous herniation"); not "previous surgery", "old fracture", "since the last study"."""
    sentence = statement.sentence
    if not any(f.kind in POSITIVE_KINDS and not f.negated for f, _ in statement.findings):
        return
    for i, token in enumerate(sentence):
        operated = token.tag == "post-operative change" and "for" in [t.word for t in sentence[i + 1 : i + 3]]
        year = re.fullmatch(r"(?:19|20)\d\d", token.word) and [t.word for t in sentence[i - 1 : i]] == ["in"]
        if operated or token.word == "operated" or (year and "change" not in {t.tag for t in sentence}):
            yield Doubt(PAST, _words(text, sentence), statement.levels(), True)  # "operated for a herniation in 2010"
        if token.tag == "past" and "change" not in {t.tag for t in sentence[:i]}:
            following = next((concept.kind for concept in statement.concepts if concept.first > i), "")
            if following in ("fracture", "post-operative change") or any(
                t.word in _STUDIES for t in sentence[i + 1 : i + 4]
            ):
                continue
            yield Doubt(PAST, _words(text, sentence), statement.levels(), True)


_STUDIES = {
    "mri",
    "study",
    "studies",
    "scan",
    "examination",
    "exam",
    "report",
    "films",
    "film",
    "images",
    "imaging",
    "insult",
}
_STUDIES |= {"trauma", "mr", "ct", "one", "date"}


def _unclear(text: str, statement: Statement) -> Iterator[Doubt]:
    for i, token in enumerate(statement.sentence):
        if token.tag == "unclear" and not statement.reach.denied[i] and _is_of_discs(statement):
            yield Doubt(UNCLEAR, _words(text, statement.sentence), statement.levels())


def _transitional(text: str, statement: Statement) -> Iterator[Doubt]:
    """Words and levels of a spine that is counted otherwise than by five lumbar vertebrae."""
    sentence = statement.sentence
    for i, token in enumerate(sentence):
        counted = token.word in ("six", "6", "four", "4") and _counts_vertebrae(sentence[i + 1 : i + 8])
        extra = token.tag == "vertebra" and token.word.strip("l -") == "6" and token.word[0] == "l"
        fused = token.word.startswith(_FUSED) and any(t.word in ("sacrum", "s1", "sacral") for t in sentence)
        like = token.word in ("lumbar", "sacral") and any(t.word.startswith(_LIKE) for t in sentence[i + 1 : i + 3])
        like = like and any(t.tag == "vertebra" for t in sentence[:i])
        if (token.tag == "transitional" and not statement.reach.denied[i]) or counted or extra or fused or like:
            yield Doubt(ODD_LEVEL, _words(text, sentence[max(0, i - 1) : i + 2]), (), True)
    for group in statement.groups:
        if "S1-S2" in group.levels:
            yield Doubt(ODD_LEVEL, _words(text, sentence[group.first : group.last]), (), True)


_FUSED = ("fused", "fusion", "articulat", "incorporat", "joined")
_LIKE = ("feature", "characteristic", "configuration", "type", "like", "morphology")


def _counts_vertebrae(following: Sequence[Token]) -> bool:
    """Whether a number counts lumbar vertebrae: "six non-rib-bearing lumbar type vertebrae"."""
    words = [t.word for t in following]
    end = next((j for j, t in enumerate(following) if t.tag == "bone" or t.word in ("segments", "type")), None)
    return end is not None and bool({"lumbar", "rib", "mobile"} & set(words[:end]))


def _bare(text: str, statement: Statement) -> Iterator[Doubt]:
    """Levels, vertebrae, numbers and discs of which nothing is said that the grammar understands."""
    sentence = statement.sentence
    inside = {i for group in statement.groups for i in range(group.first, group.last)}
    for group in statement.groups:
        lumbar = tuple(level for level in group.levels if level in LUMBAR_LEVELS)
        told = group in statement.owned or group.role == "reached" or _has_no_abnormality(statement, group)
        if lumbar and not told:
            yield Doubt(BARE, _words(text, sentence[group.first : group.last]), lumbar)
        if lumbar and _is_called_something(sentence, group.last):
            yield Doubt(BARE, _words(text, sentence[group.first : group.last + 2]), lumbar, True)
    if [token.tag for token in sentence[-2:]] == [":", "-"]:  # "bulge at L4-L5: -"
        yield Doubt(BARE, _words(text, sentence), statement.levels(), True)
    has_lesion = any(concept.kind in DISC_KINDS for concept in statement.concepts)
    if not has_lesion:
        tags = [token.tag for token in sentence]
        if "disc" in tags and not statement.concepts and not statement.groups:
            yield Doubt(BARE_DISC, _words(text, sentence))
        return
    for i, token in enumerate(sentence):
        if i in inside:
            continue
        neighbours = [t.tag for t in (*sentence[max(0, i - 1) : i], *sentence[i + 1 : i + 2])]
        is_other = token.tag == "other" and neighbours[-1:] != ["disc"]
        is_beside = token.word in ("below", "above", "beneath") and {"level", "and"} & set(neighbours)
        if is_beside or is_other or (token.tag == "" and i + 1 == len(sentence) > 1 and _is_letter(sentence, i)):
            yield Doubt(BARE, _words(text, sentence[max(0, i - 1) : i + 2]), (), True)
        if token.tag == "number" and _is_level_number(sentence, i):
            yield Doubt(BARE, _words(text, sentence[max(0, i - 1) : i + 2]), (), True)
        elif token.tag == "vertebra" and token.word[0] == "l" and _is_loose_vertebra(sentence, i):
            yield Doubt(BARE, _words(text, sentence[max(0, i - 1) : i + 2]), _beside(token))


def _has_no_abnormality(statement: Statement, group: Group) -> bool:
    """Whether a clause denies all of its level: "no abnormality at L5-S1"."""
    tags = [token.tag for token in statement.sentence]
    first = max((j + 1 for j in range(group.first) if tags[j] in (",", "stop")), default=0)
    last = next((j for j in range(group.last, len(tags)) if tags[j] in (",", "stop")), len(tags))
    return any(tags[j] == "unclear" and statement.reach.denied[j] for j in range(first, last))


def _is_called_something(sentence: Sequence[Token], i: int) -> bool:
    """Whether a clause ends in a word that may mean normal, or none: "..., L5-S1 clear", "L4-L5 bulge = 0"."""
    while i < len(sentence) and sentence[i].tag in (*DISC_KINDS, "disc", "level", "is", ":", "-"):
        i += 1
    vague = i < len(sentence) and (sentence[i].word in _VAGUE)
    return vague and (i + 1 == len(sentence) or sentence[i + 1].tag in (",", ")", "and", "stop"))


_VAGUE = {"clear", "good", "excellent", "unaltered", "standard", "simple", "0", "well", "free"}


def _is_letter(sentence: Sequence[Token], i: int) -> bool:
    """Whether a lone letter may say yes or no: "bulge L4-L5: N"."""
    return len(sentence[i].word) == 1 and sentence[i - 1].tag in (":", "-", "(")


def _is_level_number(sentence: Sequence[Token], i: int) -> bool:
    """Whether a number may be meant for a disc: "disc 4", "4-5", but no size, grade, date."""
    word = sentence[i].word
    before, after = sentence[max(0, i - 1) : i], sentence[i + 1 : i + 4]
    if not word.isdigit() or not 1 <= int(word[:4]) <= 5 or any(t.word in ("mm", "cm", "x", "*", "%") for t in after):
        return False
    return bool(before) and (before[0].tag in ("at", "disc", "level") or before[0].tag in ("and", ",", "-", "/", "to"))


def _is_loose_vertebra(sentence: Sequence[Token], i: int) -> bool:
    """Whether a vertebra outside a level expression may be meant for a disc; not "L5 root", "over L5", "L2 body"."""
    after = {t.tag for t in sentence[i + 1 : i + 5]}
    before = {t.tag for t in sentence[max(0, i - 4) : i]}
    others = {"root", "exit", "bone", "lesion", "fracture", "listhesis", "over", "facet hypertrophy", "transitional"}
    return not (after | before) & others


def _beside(vertebra: Token) -> tuple[str, ...]:
    name = "L" + vertebra.word.strip("l -")
    return tuple(level for level in LUMBAR_LEVELS if name in level.split("-"))


def _unknown(text: str, statement: Statement) -> Iterator[Doubt]:
    """Words that no list holds, in a sentence about discs."""
    if not _is_of_discs(statement):
        return
    words = [t for t in statement.sentence if not t.tag and t.word[0].isalpha() and not _is_known(t.word)]
    if words:
        found = ", ".join(dict.fromkeys(token.word for token in words))
        yield Doubt(UNKNOWN, found, statement.levels(), True)


_COMMON = ["the", "noted", "mild", "wide", "level", "both", "sac", "disc", "and", "with", "seen", "left", "right"]


def _is_known(word: str) -> bool:
    if len(word) <= 2 or " " in word or word in NUMBERS or known_word(word):
        return True
    return any(OSA.distance(word, common, score_cutoff=1) <= 1 for common in _COMMON)


def _foreign(text: str, statement: Statement) -> Iterator[Doubt]:
    words = [token for token in statement.sentence if token.tag == "foreign" or not token.word.isascii()]
    words = [token for token in words if token.word[0].isalpha()]
    if words:
        yield Doubt(LANGUAGE, ", ".join(dict.fromkeys(token.word for token in words)), (), True)


_CHECKS: tuple[Callable[[str, Statement], Iterator[Doubt]], ...] = (
    _open_roles, _suspected, _either, _carried, _idle, _change,
    _past, _unclear, _transitional, _bare, _unknown, _foreign,
)  # fmt: skip


# --- the whole note ---------------------------------------------------------------------------------------------------


def _contradictions(statements: Sequence[Statement]) -> Iterator[Doubt]:
    """Levels that are called normal by name and have a finding by name."""
    normal = {level for s in statements for level, role in s.normal if role == "named"}
    for statement in statements:
        for finding, role in statement.findings:
            if finding.level in normal and role == "named" and finding.kind in POSITIVE_KINDS and not finding.negated:
                yield Doubt(CONTRADICTION, finding.level, (finding.level,), True)


_STUDY = {
    "study",
    "mri",
    "mr",
    "scan",
    "examination",
    "exam",
    "report",
    "spine",
    "findings",
    "images",
    "appearance",
    "lss",
}


_ELSEWHERE = {"cervical", "thoracic", "dorsal", "brain", "knee", "hip", "shoulder", "pelvis", "pelvic", "abdomen"}
_SAID = POSITIVE_KINDS | {"dehydration", "non-disc compression"}


_LUMBAR = re.compile(r"\blss\b|\blumb|\bl\W{0,2}s?\W{0,3}spine\b|\bl ?-?[1-5]\b|\bdis[ck]s?\b|\bls\b", re.IGNORECASE)
_NEAR = {*LUMBAR_LEVELS, "T10-T11", "T11-T12", "T12-L1"}  # on the images of a lumbar study


def _is_about_lumbar_discs(statement: Statement, is_lumbar: bool) -> bool:
    """Whether a sentence (of a note with a lumbar word in it) was understood to say something of lumbar discs."""
    levels = statement.levels()
    words = {t.word for t in statement.sentence}
    if words & _ELSEWHERE and not words & {"lumbar", "lss", "lumbosacral", "discs", "disc"} and not levels:
        return False
    if levels and not _NEAR & set(levels):
        return False
    if statement.normal or any(f.kind in _SAID or (f.level and f.level[0] != "C") for f, _ in statement.findings):
        return True
    tags = {token.tag for token in statement.sentence}
    no_abnormality = "unclear" in tags and any(statement.reach.denied)
    return is_lumbar and (no_abnormality or ("normal" in tags and bool(_STUDY & {t.word for t in statement.sentence})))
