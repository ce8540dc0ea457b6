"""Concepts (findings, and what else may press on a nerve) and attachment: whose level, and whether it is denied."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from lhdlib.data.grammar.levels import LUMBAR_LEVELS, Group, find_groups
from lhdlib.data.grammar.words import MAX_NOTE, Token, read_words, split_sentences

DISC_KINDS = ("bulge", "protrusion", "herniation", "extrusion", "sequestration", "annular tear")
COMPRESSION_KINDS = ("thecal sac compression", "nerve root compression", "foraminal narrowing")
POSITIVE_KINDS = frozenset(DISC_KINDS + COMPRESSION_KINDS)


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
_DETAILS = {"grade", "central", "left", "right", "place"}


def _denied(sentence: list[Token], groups: list[Group]) -> list[bool]:
    """For each token whether a negation reaches it: forwards up to where it ends, or back from "... is not seen"."""
    tags = [token.tag for token in sentence]
    forwards = [i for i in range(len(tags)) if _is_negation(sentence, i) and not _looks_back(sentence, i)]
    backwards = [i for i in range(len(tags)) if _is_negation(sentence, i) and _looks_back(sentence, i)]
    ends = sorted(_ends_of_denial(sentence, groups) | {*backwards, len(tags)})
    denied = ["non" in tags[max(0, i - 2) : i] for i in range(len(tags))]
    for i in forwards:
        end = ends[bisect_right(ends, i)]
        denied[i:end] = [True] * (end - i)
    for i in backwards:
        first = next((j + 1 for j in reversed(range(i)) if tags[j] in (",", "stop", "no")), 0)
        denied[first:i] = [True] * (i - first)
    return denied


def _is_negation(sentence: list[Token], i: int) -> bool:
    loose = sentence[i].word == "free" and not (i + 1 < len(sentence) and sentence[i + 1].tag == "at")
    return sentence[i].tag == "no" and not loose  # "a free fragment" denies nothing


def _looks_back(sentence: list[Token], i: int) -> bool:
    """Whether "not" speaks of what stands before it: "... is not seen", "... are not present"."""
    following = [token.tag for token in sentence[i + 1 : i + 4]]
    return sentence[i].word == "not" and i > 0 and sentence[i - 1].tag == "is" and "seen" in following


def _ends_of_denial(sentence: list[Token], groups: list[Group]) -> set[int]:
    """Tokens that no earlier negation reaches: "but", a heading, a new statement after a comma, a new detail."""
    tags = [token.tag for token in sentence]
    starts = {group.first for group in groups}
    ends = {i for i, tag in enumerate(tags) if tag == "stop"}
    ends |= {group.first for group in groups if tags[group.last : group.last + 1] == [":"]}
    last_noun = max((i for i, tag in enumerate(tags) if tag in DISC_KINDS), default=-1)
    ends |= {i for i in starts if i < last_noun and tags[i - 1 : i] in ([","], ["and"])}
    said = False
    first = 0
    for last in [i for i, tag in enumerate(tags) if tag == ","] + [len(tags)]:
        part = tags[first:last]
        if "or" not in part and not any(token.word == "nor" for token in sentence[first:last]):
            if said and starts & set(range(first, last)) and set(DISC_KINDS) & set(part):
                ends.add(first)
            ends |= {i for i in range(first, last) if i and _is_new_detail(tags[i - 1], tags[i])}
        said = bool(_NOUNS & set(part))
        first = last + 1
    return ends


def _is_new_detail(before: str, tag: str) -> bool:
    return tag in _DETAILS and (before in (",", "seen") or (tag == "grade" and before in ("and", "with")))


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
    """A level is singled out of others: "... mainly at L4-L5"."""
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


def read_findings(text: str) -> list[tuple[Finding, str]]:
    """Findings, each with the role of the level expression it hangs on ("" when there is none)."""
    if not isinstance(text, str):
        return []
    out: list[tuple[Finding, str]] = []
    heading = Group(0, 0, (), "")  # levels under which level-less sentences stand: "L4-L5: bulge. Tear noted."
    last = heading  # levels spoken of last
    named: dict[str, None] = {}  # all levels so far, for "the other discs"
    carried = ""  # what was spoken of last, for "... . It compresses the thecal sac"
    for sentence in split_sentences(read_words(text[:MAX_NOTE])):
        groups = [_resolved(group, last, named) for group in find_groups(sentence)]
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
