"""How far a denial or a doubt reaches in a sentence."""

from bisect import bisect_right
from dataclasses import dataclass

from lhdlib.data.grammar.levels import Group
from lhdlib.data.grammar.words import DISC_KINDS, LEXICON, Token

CAUSES = frozenset(
    (
        "osteophyte",
        "listhesis",
        "fracture",
        "facet hypertrophy",
        "ligament hypertrophy",
        "post-operative change",
        "lesion",
    )
)
OTHER_KINDS = CAUSES | {"dehydration", "end-plate change", "spinal canal stenosis", "narrow disc space"}
_NOUNS = {
    *DISC_KINDS,
    *OTHER_KINDS,
    "press",
    "narrow",
    "foramen",
    "space",
    "unclear",
    "transitional",
    "normal",
    "moved",
}
_STATED = {*DISC_KINDS, *OTHER_KINDS, "press", "narrow", "seen", "unclear", "normal"}  # what makes a statement
_DETAILS = {"grade", "central", "left", "right", "place"}
_SEEING = {"seen", "is", ",", ")", "-", "hedge", "no"}
_SEEING_WORDS = {"longer", "more", "any", "definitely", "clearly", "there", "well", "at", "all", "yet", "now"}


@dataclass
class Reach:
    """For each token whether it is denied or doubted, and the operators that reach nothing."""

    denied: list[bool]
    doubted: list[bool]
    idle: list[int]


def find_reach(sentence: list[Token], groups: list[Group]) -> Reach:
    """Find the negations and doubts of a sentence, find where each ends, mark what lies between.

    Each reaches forwards to what it names ("no bulge", "possible bulge") or, where it names nothing, backwards ("the
    bulge is not seen", "bulge: absent", "bulge?"). "No change of the bulge" denies no bulge.
    """
    tags = [token.tag for token in sentence]
    operators = [i for i in range(len(tags)) if _operator(sentence, i)]
    ends = sorted(ends_of_reach(sentence, groups))
    stops = sorted({*ends, *(i for i in operators if _turns_back(sentence, i)), len(tags)})
    breaks = [0] + [i + 1 for i, tag in enumerate(tags) if tag in (",", "no", "absent", "stop")]
    denied = ["non" in tags[max(0, i - 2) : i] for i in range(len(tags))]
    reach = Reach(denied, [False] * len(tags), [])
    for i in operators:
        last = stops[bisect_right(stops, i)]
        start = breaks[bisect_right(breaks, i) - 1]
        first = max([start, *ends[: bisect_right(ends, i)][-1:]])
        found = _reaches(sentence, i, first, last)
        if tags[i - 1 : i] == [":"] and "or" in tags[start:i]:  # "bulge, protrusion or herniation: none"
            start = max((j + 1 for j in range(i) if tags[j] in ("stop", "no", "absent")), default=0)
            found = _reaches(sentence, i, start, last)
        if found is None and tags[i - 1 : i] == [":"]:  # "bulge at L4-L5: none"
            found = _reaches(sentence, i, start, last)
        marks = reach.doubted if tags[i] == "hedge" else reach.denied
        for j in found or ():
            marks[j] = True
        if found is None and not _is_exception(groups, sentence, i):
            reach.idle.append(i)
    return reach


def _reaches(sentence: list[Token], i: int, first: int, last: int) -> range | None:
    """Tokens that the operator at i speaks of, between `first` and `last`; None when there are none."""
    tags = [token.tag for token in sentence]
    ahead = next((j for j in range(i + 1, last) if tags[j] in _NOUNS or tags[j] in ("aside", "change", "absent")), None)
    behind = any(tag in _NOUNS for tag in tags[first:i])
    forwards = range(i, last) if ahead is not None else None
    if tags[i] == "no":
        if ahead is not None and tags[ahead] in ("change", "aside") and not _turns_back(sentence, i):
            return range(i, ahead)  # denied is the change alone
        if ahead is not None and tags[ahead] == "absent":  # "has not resolved": left to a person
            return None
        end = next((j for j in range(i + 1, len(tags)) if tags[j] == ","), len(tags))
        seeing = all(t.tag in _SEEING or t.word in _SEEING_WORDS for t in sentence[i + 1 : end])
        seeing = seeing and not sentence[i].word.startswith(("with", "lack", "abs", "free", "devoid"))
        if behind and (_turns_back(sentence, i) or (forwards is None and seeing)):
            return range(first, i)
        return forwards
    if behind and (tags[i] == "absent" or tags[max(0, i - 1) : i] == ["is"] or ahead is None):
        return range(first, i)
    return forwards


def _is_exception(groups: list[Group], sentence: list[Token], i: int) -> bool:
    """Whether a negation takes levels out: "herniation at L4-L5, not at L5-S1"."""
    after = next((group for group in groups if group.first > i), None)
    return bool(after and after.role == "excepted" and sentence[i].tag == "no")


def _operator(sentence: list[Token], i: int) -> bool:
    loose = sentence[i].word == "free" and not (i + 1 < len(sentence) and sentence[i + 1].tag == "at")
    return sentence[i].tag in ("no", "hedge", "absent") and not loose  # "a free fragment" denies nothing


def _turns_back(sentence: list[Token], i: int) -> bool:
    """Whether "not" speaks of what stands before it: "... is not seen", "... could not be identified"."""
    word, following = sentence[i].word, [token.tag for token in sentence[i + 1 : i + 4]]
    if word.endswith(("n't", "nt", "cannot")) and LEXICON.get(word) == "no":
        return "seen" in following and "is" in following[:1]
    return word in ("not", "no longer", "never") and i > 0 and sentence[i - 1].tag == "is" and "seen" in following


def ends_of_reach(sentence: list[Token], groups: list[Group]) -> set[int]:
    """Tokens that nothing earlier reaches: "but", a heading, a new statement after a comma, a new detail."""
    tags = [token.tag for token in sentence]
    starts = {group.first for group in groups if group.role != "excepted"}
    ends = {i for i, tag in enumerate(tags) if tag in ("stop", "except")}
    ends |= {group.first for group in groups if tags[group.last : group.last + 1] == [":"]}
    last_noun = max((i for i, tag in enumerate(tags) if tag in DISC_KINDS), default=-1)
    ends |= {i for i in starts if i < last_noun and tags[i - 1 : i] in ([","], ["and"])}
    for i, tag in enumerate(tags):
        if tag in ("and", "with") and _says_it_again(tags, starts, i):
            ends.add(i + 1)
    said = False
    first = 0
    for last in [i for i, tag in enumerate(tags) if tag == "," or _is_dash(sentence, i)] + [len(tags)]:
        part = tags[first:last]
        if "or" not in part and not any(token.word == "nor" for token in sentence[first:last]):
            if said and starts & set(range(first, last)) and set(DISC_KINDS) & set(part):
                ends.add(first)
            ends |= {i for i in range(first, last) if i and _is_new_detail(tags[i - 1], tags[i])}
        said = bool(_STATED & set(part))
        first = last + 1
    for i, token in enumerate(sentence):  # "... and there is a protrusion at L4-L5"
        if token.word == "there" and tags[i - 1 : i] in ([","], ["and"], ["with"]) and tags[i + 1 : i + 2] == ["is"]:
            ends.add(i)
    return ends


def _is_dash(sentence: list[Token], i: int) -> bool:
    """Whether a dash or slash with spaces around stands between two statements, not within a level."""
    if sentence[i].tag not in ("-", "/") or not 0 < i < len(sentence) - 1:
        return False
    before, after = sentence[i - 1], sentence[i + 1]
    return before.end < sentence[i].start and sentence[i].end < after.start


def _says_it_again(tags: list[str], starts: set[int], i: int) -> bool:
    """Whether the "and" at token i joins two statements of one kind: "no bulge at L3-L4 and bulge at L4-L5"."""
    first = max((j + 1 for j in range(i) if tags[j] == ","), default=0)
    denied = [j for j in range(i + 1, len(tags)) if tags[j] == "no" and tags[j - 1] != "is"]
    last = next((j for j in range(i + 1, len(tags)) if tags[j] in (",", "and", "with") or j in denied), len(tags))
    again = set(tags[first:i]) & set(tags[i + 1 : last]) & set(DISC_KINDS)
    return bool(again) and bool(starts & set(range(first, i))) and bool(starts & set(range(i + 1, last)))


def _is_new_detail(before: str, tag: str) -> bool:
    return tag in _DETAILS and (before in (",", "seen") or (tag == "grade" and before in ("and", "with")))
