"""Concepts (findings, and what else may press on a nerve) and attachment: whose level, and whether it is denied."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from lhdlib.data.grammar.levels import LUMBAR_LEVELS, Group, find_groups, with_regions
from lhdlib.data.grammar.reach import CAUSES, OTHER_KINDS, Reach, find_reach
from lhdlib.data.grammar.words import DISC_KINDS, MAX_NOTE, Token, known_word, read_words, split_sentences

COMPRESSION_KINDS = ("thecal sac compression", "nerve root compression", "foraminal narrowing")
POSITIVE_KINDS = frozenset(DISC_KINDS + COMPRESSION_KINDS)


@dataclass(frozen=True)
class Finding:
    """One finding at one disc level, or denied there; its words in the note are ``text[start:end]``."""

    level: str | None  #: such as "L4-L5"; None when the note does not say where
    #: "bulge", "protrusion", "thecal sac compression", "osteophyte", ...; a compression that the note blames on
    #: something other than the disc is "non-disc compression"
    kind: str
    negated: bool  #: the note denies it
    start: int
    end: int
    side: str = ""  #: "left", "right", "bilateral", "central" or empty
    doubted: bool = False  #: the note only suspects it ("possible", "cannot be excluded") or asks for it


# --- concepts ---------------------------------------------------------------------------------------------------------

_NONE = Group(0, 0, (), "")


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
            if tag == "annular tear" and not about_disc:  # of a muscle
                continue
            if tag == "herniation" and i and sentence[i - 1].word in _NO_DISC:
                continue
            if "end-plate change" in tags[max(0, i - 3) : i + 4] and tag == "herniation" and "disc" not in near:
                continue
            out.append(Concept(tag, i, i + 1))
        elif tag in ("press", "narrow"):
            out += _compressions(tags, i)
        elif tag in OTHER_KINDS or (tag == "normal" and _called_normal(sentence, i, groups) is not None):
            out.append(Concept(tag, i, i + 1))
    return sorted(out, key=lambda concept: concept.first)


_NO_DISC = {"hiatal", "hiatus", "inguinal", "umbilical", "ventral", "muscle", "fat", "bowel", "tonsillar", "abdominal"}
_COPULA = {"is", "level", "disc", "-", ":", "(", ",", "show", "lumbar"}


def _called_normal(sentence: list[Token], i: int, groups: list[Group]) -> Group | None:
    """What "normal" at token i is said of: levels ("normal L3-L4", "L5-S1 is normal"), discs, or no disc (None)."""
    tags = [token.tag for token in sentence]
    owner = {j: group for group in groups for j in range(group.first, group.last)}
    owner |= {j: _NONE for j, tag in enumerate(tags) if tag == "disc" and j not in owner}
    behind = i - 1
    while behind >= 0 and i - behind < 7 and behind not in owner:
        if tags[behind] not in _COPULA and sentence[behind].word not in ("the", "also", "both"):
            break
        behind -= 1
    ends = [
        tag for tag in tags[i + 1 : i + 2] if tag not in {",", ")", "and", "stop", "with", "-", "is", "or", "except"}
    ]
    is_behind = behind in owner and (not ends)
    if is_behind and tags[behind] == "disc":  # "the L5-S1 disc is normal"
        behind = next((j for j in (behind - 1, behind - 2) if owner.get(j, _NONE) != _NONE), behind)
    ahead = i + 1
    while (
        ahead < len(tags)
        and ahead - i < 5
        and ahead not in owner
        and (not tags[ahead] or tags[ahead] in ("at", "lumbar"))
    ):
        ahead += 1
    after = ahead
    while after < len(tags) and (after in owner or tags[after] == "level"):
        after += 1
    is_ahead = ahead in owner and tags[after : after + 1] != ["space"]
    is_ahead = is_ahead and not any(t.word in ("signal", "height") for t in sentence[i + 1 : after + 1])
    if is_ahead and not (is_behind and tags[i - 1] in ("is", ":")):
        named = next((owner[j] for j in range(ahead, after) if owner.get(j, _NONE) != _NONE), _NONE)
        return named
    return owner[behind] if is_behind else None


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
    if "fracture" in tags[i + 1 : i + 2] or "moved" in tags[max(0, i - 2) : i]:  # "fragment displaced to the foramen"
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
    if not found and narrow and {"disc", "space"} & set(tags[max(0, i - 3) : i + 4]):
        return [Concept("narrow disc space", i, i + 1)]
    return [Concept(_STRUCTURES[structure], *span) for structure, span in found.items()]


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
    if {"no", "stop"} & {token.tag for token in gap}:  # "L4-L5 shows a bulge but no abnormality at L3-L4"
        return before[-1:]
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
    if any(kind in CAUSES for kind in earlier):
        return True
    for later in concepts[k + 1 :]:
        if later.kind in CAUSES and "due" in tags[concept.last : later.first][-4:]:
            return True
    return not earlier and carried in CAUSES


@dataclass
class Statement:
    """A sentence as understood: its findings, each with the role of the level expression it hangs on ("" without one).

    `owned` are the groups that a finding of this or a later sentence hangs on; `normal` are levels called normal, with
    the role of their group; a `request` is what was asked, not what was found.
    """

    sentence: list[Token]
    groups: list[Group]
    concepts: list[Concept]
    reach: Reach
    findings: list[tuple[Finding, str]] = field(default_factory=list)
    normal: list[tuple[str | None, str]] = field(default_factory=list)
    owned: set[Group] = field(default_factory=set)
    request: bool = False

    def levels(self) -> tuple[str, ...]:
        """Levels that the sentence names or its findings hang on."""
        named = [level for group in self.groups for level in group.levels]
        return tuple(dict.fromkeys(named + [finding.level for finding, _ in self.findings if finding.level]))


def read_findings(text: str) -> list[tuple[Finding, str]]:
    """Findings, each with the role of the level expression it hangs on ("" when there is none)."""
    return [found for statement in read_statements(text) for found in statement.findings]


def read_statements(text: str) -> list[Statement]:
    """Statements of a note, sentence by sentence."""
    if not isinstance(text, str):
        return []
    text = text[:MAX_NOTE]
    out: list[Statement] = []
    heading = last = (
        _NONE  # levels under which level-less sentences stand ("L4-L5: bulge. Tear noted."); spoken of last
    )
    named: dict[str, None] = {}  # all levels so far, for "the other discs"
    carried = ""  # what was spoken of last, for "... . It compresses the thecal sac"
    is_request = False
    for sentence in map(with_regions, split_sentences(read_words(text))):
        groups = [_resolved(group, last, named) for group in find_groups(sentence)]
        own = [group for group in groups if group.role not in ("excepted", "reached", "unsure")]
        concepts = _concepts(sentence, own)
        statement = Statement(sentence, groups, concepts, find_reach(sentence, groups))
        is_request = _is_request(sentence, text, out[-1].sentence[-1].end if out else 0, is_request)
        statement.request = is_request
        out.append(statement)
        if is_request:
            continue
        if not concepts and own and out[1:] and _goes_on(text, out[-2], statement):
            _continue_list(out[-2], statement)
        tags = [token.tag for token in sentence]
        spoken: list[str] = []
        floor = 0
        for k, concept in enumerate(concepts):
            owners = _owners(sentence, own, concepts, k)
            if concept.kind == "normal":
                owners = [_called_normal(sentence, concept.first, own) or _NONE]
            elif not owners:
                is_new = concept.kind in DISC_KINDS and concept.kind != "annular tear"
                owners = [heading if is_new or concept.kind in OTHER_KINDS else last]
            elif heading.levels and owners[0] == own[0] and _is_emphasis(sentence, own[0]):
                owners = [heading, *owners]
            kind = concept.kind
            if kind in COMPRESSION_KINDS and _blames_another(
                concepts, k, statement.reach.denied, tags, "" if own else carried
            ):
                kind = "non-disc compression"
            _add(statement, concept, kind, owners, _side(sentence, concept, floor))
            if not statement.reach.denied[concept.first] and kind in CAUSES | set(DISC_KINDS):
                spoken.append(kind)
            floor = concept.last
        if own:
            level_first = not concepts or own[0].first < concepts[0].first
            heading = own[-1] if level_first else _NONE
            last = own[-1]
            named |= dict.fromkeys(level for group in own for level in group.levels)
        if concepts:
            carried = next((kind for kind in spoken if kind in DISC_KINDS), spoken[-1] if spoken else "")
    _yield_to_names(out)
    return out


def _yield_to_names(statements: list[Statement]) -> None:
    """Drop what is said of all discs where it is denied of one: "bulges at all levels. L5-S1 is normal"."""
    normal = {level for statement in statements for level, role in statement.normal if role == "named"}
    denied = {(f.level, f.kind) for s in statements for f, role in s.findings if f.negated and role == "named"}
    for statement in statements:
        statement.findings = [
            (finding, role)
            for finding, role in statement.findings
            if not (role == "all" and (finding.level in normal or (finding.level, finding.kind) in denied))
        ]


def _add(statement: Statement, concept: Concept, kind: str, owners: list[Group], side: str) -> None:
    """Add what a concept says of its levels, and of those that are excepted the opposite."""
    sentence, reach = statement.sentence, statement.reach
    start, end = sentence[concept.first].start, sentence[concept.last - 1].end
    negated, doubted = reach.denied[concept.first], reach.doubted[concept.first]
    excepted = {level: group for group in statement.groups if group.role == "excepted" for level in group.levels}
    statement.owned.update(owners)
    for owner in owners:
        for level in owner.levels or (None,):
            if level in excepted:
                continue
            if kind == "normal":
                statement.normal.append((level if not (negated or doubted) else None, owner.role))
            else:
                statement.findings.append((Finding(level, kind, negated, start, end, side, doubted), owner.role))
    if kind in DISC_KINDS:
        statement.owned.update(excepted.values())
        for level in excepted:
            statement.findings.append((Finding(level, kind, not negated, start, end, side, doubted), "named"))


def _goes_on(text: str, before: Statement, statement: Statement) -> bool:
    """Whether a sentence of levels and details alone goes on with a list: "protrusions: L4-L5 left; L5-S1 right"."""
    joint = text[before.sentence[-1].end : statement.sentence[0].start].strip()
    plain = {
        "grade",
        "-",
        "left",
        "right",
        "central",
        "bilateral",
        "place",
        "number",
        "and",
        ",",
        "level",
        "disc",
        "at",
        "",
    }
    inside = {i for group in statement.groups for i in range(group.first, group.last)}
    rest = [token for i, token in enumerate(statement.sentence) if i not in inside]
    return joint == ";" and all(token.tag in plain and (token.tag or known_word(token.word)) for token in rest)


def _continue_list(before: Statement, statement: Statement) -> None:
    for finding, _ in list({f.kind: (f, r) for f, r in before.findings if f.kind in DISC_KINDS}.values()):
        for group in statement.groups:
            statement.owned.add(group)
            statement.findings += [(replace(finding, level=level), group.role) for level in group.levels]


_REQUESTS = {
    "indication",
    "indications",
    "history",
    "clinical",
    "request",
    "requested",
    "reason",
    "complaint",
    "complaints",
}
_REQUESTS |= {"question", "hx", "c", "background", "referral", "information"}
_CLINICAL = _REQUESTS | {"data", "diagnosis", "details"}
_REPORTS = {"finding", "findings", "impression", "report", "result", "results", "conclusion", "opinion", "mri", "lss"}
_REPORTS |= {"technique", "mr", "interpretation", "summary", "diagnosis"}


def _is_request(sentence: list[Token], text: str, since: int, was: bool) -> bool:
    """Whether a sentence stands under "Indication:", "Clinical history:", ... rather than among the findings."""
    words = [token.word for token in sentence[:5]]
    if words[0] == "clinically" or (words[0] == "clinical" and words[1:2] and words[1] in _CLINICAL):
        return True
    head = words[: words.index(":")] if ":" in words else []
    if head and _REQUESTS & set(head) and not any(word == "spine" for word in head):
        return head != ["c"]
    new_line = "\n" in text[since : sentence[0].start]
    return was and not new_line and words[0] not in _REPORTS


def _resolved(group: Group, last: Group, named: Iterable[str]) -> Group:
    """A group whose "other" or "same" levels are looked up in what was said before."""
    if group.role == "same" and last.levels:
        return group._replace(levels=last.levels)
    if group.role == "other":
        known = set(named)
        return group._replace(levels=tuple(level for level in LUMBAR_LEVELS if known and level not in known))
    return group
