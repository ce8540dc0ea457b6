"""Level expressions: ``L4-5``, ``L3 to S1``, "last two discs"."""

from itertools import pairwise
from typing import NamedTuple

from lhdlib.data.grammar.words import DISC_KINDS, NUMBERS, Token

LUMBAR_LEVELS = ("L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")


_VERTEBRAE = [f"{region}{i}" for region, last in (("C", 7), ("T", 12), ("L", 5), ("S", 5)) for i in range(1, last + 1)]
PLACE = {name: i for i, name in enumerate(_VERTEBRAE)} | {f"D{i}": 6 + i for i in range(1, 13)}
_L5 = PLACE["L5"]


class Group(NamedTuple):
    """A level expression: tokens ``first`` to ``last`` (exclusive) name ``levels``.

    `role` is "named", "all", "multi" (several, not said which), "other" (the rest), "same" (those spoken of last),
    "odd", "excepted" ("all but L5-S1"), "reached" (where a fragment went: "migrated to L5-S1") or "unsure" whether so.
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
    if name in PLACE:
        return [PLACE[name]]
    pair = [PLACE[region + digit] for digit in digits if region + digit in PLACE]
    return pair if len(pair) == len(digits) and pair[-1] - pair[0] == 1 else None


def _next_vertebra(sentence: list[Token], i: int, last: int) -> list[int] | None:
    """Vertebrae named by token i as the continuation of a chain that ended at vertebra `last`; None when it is none."""
    if i >= len(sentence):
        return None
    token, after = sentence[i], sentence[i + 1 : i + 2]
    if token.tag == "vertebra":
        return _vertebrae(token)
    if token.tag == "number" and token.word.isdigit() and not (after and after[0].word in ("mm", "cm", "x", "*")):
        digit = int(token.word[-1])  # "L4/15" is a slip for "L4/l5"
        expected = 1 if last in (PLACE["T12"], _L5) else int(_VERTEBRAE[last][1:]) + 1
        if digit == expected and len(token.word) <= 2:
            return [last + 1] if last + 1 < len(_VERTEBRAE) else None
        if len(token.word) == 1 and sentence[i - 1].tag == "-" and PLACE["L1"] <= last < _L5 and expected < digit <= 5:
            return [PLACE[f"L{digit}"]]
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
        is_pair = [t.tag for t in sentence[j + 1 : j + 2]] in (["-"], ["/"])
        if link in ("-", "/") and len(points) > 1 and following[0] <= points[-1] and is_pair:
            break  # "L4-L5 - L5-S1"
        if link in (",", "and") and links and links[-1] not in (",", "and"):
            # "L4-L5 & S1" goes on; "L3-L4 & L4-L5" and "L4-L5, S1 root" do not
            beyond = [token.tag for token in sentence[j + 1 : j + 2]]
            if following != [points[-1] + 1] or {"-", "/", "root", "exit", "bone", "left", "right"} & set(beyond):
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
    if points == [PLACE["T1"], PLACE["T2"]]:  # the weightings
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
        if token.word in NUMBERS or (token.tag == "number" and token.word in tuple("12345")):
            count = NUMBERS.get(token.word) or int(token.word)
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
        return Group(i, j, LUMBAR_LEVELS, "all")
    for quantifier, from_end in (("last", True), ("first", False)):
        if quantifier in tags:
            count = count or (0 if plural else 1)
            counted = LUMBAR_LEVELS[-count:] if from_end else LUMBAR_LEVELS[:count]
            return Group(i, j, counted) if count else Group(i, j, (), "multi")
    if "same" in tags or (count == 2 and tags[-1] == "level"):
        return Group(i, j, (), "same")
    if tags == ["lumbar", "disc"] and plural:
        return Group(i, j, LUMBAR_LEVELS, "all")
    return None


def with_regions(sentence: list[Token]) -> list[Token]:
    """A sentence in which pairs of bare numbers are vertebrae where they can only be that: "L2-3, 3-4 and 5-1"."""
    out = list(sentence)
    about_levels = any(token.tag in ("vertebra", "disc", "level", *DISC_KINDS) for token in sentence)
    for i in range(len(sentence) - 2):
        upper, joint, lower = sentence[i : i + 3]
        if upper.tag != "number" or joint.tag not in ("-", "/") or not about_levels:
            continue
        before = sentence[i - 1] if i else None
        after = sentence[i + 3].word if i + 3 < len(sentence) else ""
        if before and before.tag in ("-", "/", "number", "vertebra") and not _ends_pair(out[:i]):
            continue
        if before and before.word in ("*", "x", "grade", "type", "c"):
            continue
        if after in ("mm", "cm", "x", "*", "of", "-", "/") or (before and before.word in ("measuring", "about")):
            continue
        if lower.tag == "number" and (upper.word, lower.word) in _PAIRS:
            names = _PAIRS[upper.word, lower.word]
        elif upper.word == "5" and lower.word == "s1":
            names = ("l5", "s1")
        else:
            continue
        out[i] = upper._replace(tag="vertebra", word=names[0])
        out[i + 2] = lower._replace(tag="vertebra", word=names[1])
    return out


def _ends_pair(before: list[Token]) -> bool:
    """Whether a pair of vertebrae has just ended: "L2-3 3-4", "L2-3/3-4"."""
    end = before[:-1] if before[-1].tag == "/" else before
    tags = [token.tag for token in end[-3:]]
    if len(tags) < 3 or tags[0] != "vertebra" or tags[1] not in ("-", "/") or tags[2] not in ("vertebra", "number"):
        return False
    return end[-1].tag == "vertebra" or end[-1].word == str(int(end[-3].word.strip("l -") or 0) + 1)


_PAIRS = {(str(i), str(i + 1)): (f"l{i}", f"l{i + 1}") for i in range(1, 5)} | {("5", "1"): ("l5", "s1")}


def find_groups(sentence: list[Token]) -> list[Group]:
    """Level expressions of a sentence; those joined by nothing but commas, "and", sides, sizes, ... are one."""
    found: list[Group] = []
    i = 0
    while i < len(sentence):
        group = _chain(sentence, i) if sentence[i].tag == "vertebra" else _phrase(sentence, i)
        if group:
            before = found[-1] if found else None
            if before and before.role == group.role == "named" and _are_joined(sentence, before, group):
                levels = tuple(dict.fromkeys(before.levels + group.levels))
                found[-1] = Group(before.first, group.last, levels)
            else:
                found.append(group)
        i = group.last if group else i + 1
    return _excepted(sentence, _reached(sentence, found))


_STATEMENTS = {
    *DISC_KINDS,
    "normal",
    "unclear",
    "osteophyte",
    "listhesis",
    "facet hypertrophy",
    "dehydration",
    "end-plate change",
}
_GLUE = {",", "and", "or", "/", "at", "level", "disc", "(", ")", "to", "with", "-"}
_JOINTS = {",", "and", "or", "/", "(", ")", "-", "to", "with", "than"}
_DETAILS = {"grade", "left", "right", "central", "bilateral", "place", "number", "mainly"}
_QUIET = {"the", "also", "as", "well", "both", "noted", "mm", "cm", "side", "sided", "a", "in", "to a lesser degree"}
_QUIET |= {"to a lesser extent", "to a greater degree", "than", "grade", "type", "size", "measuring", "about"}
_QUIET |= {"x", "*", "i", "ii", "iii", "iv"}


def _are_joined(sentence: list[Token], before: Group, group: Group) -> bool:
    """Whether two level expressions are one list: nothing but joints and details between, no statement on one alone."""
    between = sentence[before.last : group.first]
    if any(token.tag not in _GLUE | _DETAILS and token.word not in _QUIET for token in between):
        return False
    said = {part for token in between for part in (token.tag, token.word)}
    if said & {"the", "at"} and not said & _JOINTS:  # "the fragment of L4-L5 at the level of L5-S1"
        return False
    joints = {",", "and", ")", "than"} & said
    if not joints and any(token.tag in _DETAILS for token in between):
        return False
    opener = next((t for t in reversed(sentence[: before.first]) if t.tag not in ("", "level", "(")), None)
    governed = bool(_STATEMENTS & {t.tag for t in sentence[: before.first]})
    if not governed or opener is None or opener.tag in (",", "and", "stop", ":"):
        return True
    end = group.last
    if {token.tag for token in between} == {","} and [t.tag for t in sentence[end : end + 1]] == ["and"]:
        after = end + 1  # "bulge at L3-L4, L4-L5 and L5-S1 are normal"
        while after < len(sentence) and sentence[after].tag in ("vertebra", "number", "-", "/", "level", "disc"):
            after += 1
        end = after if [t.word for t in sentence[after : after + 1]] and sentence[after].word in _PLURAL else end
    stop = next((j for j in range(end, len(sentence)) if sentence[j].tag in (",", "and", "with", "stop", "(")), None)
    return not _STATEMENTS & {token.tag for token in sentence[end:stop]}


_PLURAL = {"are", "were", "show", "appear", "look", "have", "remain"}


def _reached(sentence: list[Token], groups: list[Group]) -> list[Group]:
    """Groups, those marked that a fragment or a bulge of another level reaches, or may have reached."""
    out = groups[:1]
    for before, group in pairwise(groups):
        between = sentence[before.last : group.first]
        way = max((i for i, token in enumerate(between) if _is_way(token)), default=None)
        if way is not None and group.role == "named" and before.levels:
            tags = [token.tag for token in between]
            if not {"and", ",", "stop"} & set(tags[way:]) and not set(DISC_KINDS) & set(tags[way + 1 :]):
                words = {token.word for token in between[way:]}
                to = "to" in tags[way:] or bool(words & {"behind", "into", "toward", "towards", "beyond"})
                moved = any(token.word.startswith(("migrat", "extend", "displac", "reach")) for token in between)
                is_part = "with" in tags and not {"and", ","} & set(tags[:way])
                group = group._replace(role="reached" if to or moved or is_part else "unsure")
        out.append(group)
    return [_origin(sentence, group) for group in out]


def _origin(sentence: list[Token], group: Group) -> Group:
    """A level expression, of "migrated from L4-L5 to L5-S1" the first level alone."""
    inside = {token.tag for token in sentence[group.first : group.last]}
    is_way = sentence[group.first - 1 : group.first] and sentence[group.first - 1].word == "from"
    if is_way and "to" in inside and any(_is_way(token) for token in sentence):
        return group._replace(levels=group.levels[:1])
    return group


def _is_way(token: Token) -> bool:
    return token.tag == "moved" or token.word.startswith(("extend", "displac", "reach")) or "fragment" in token.word


def _excepted(sentence: list[Token], groups: list[Group]) -> list[Group]:
    """Groups, those marked that "except" takes out and of which nothing else is said."""
    out = list(groups)
    for e, token in enumerate(sentence):
        of_all = any(group.role == "all" and group.last == e for group in groups)  # "all discs but L5-S1 bulge"
        bare = token.word == "but" and not any(t.tag in _STATEMENTS | {"seen", "show"} for t in sentence[e:])
        if token.tag not in ("except", "no") and not bare and not (token.word == "but" and of_all):
            continue
        if not any(group.first > e for group in groups):
            break
        if token.tag == "no" and _STATEMENTS & {t.tag for t in sentence[e : _clause_end(sentence, e + 1)]}:
            continue  # but "herniation at L4-L5, not at L5-S1"
        last = e + 1
        for k, group in enumerate(groups):
            if group.first >= last and all(t.tag in _GLUE or t.word in _QUIET for t in sentence[last : group.first]):
                if of_all or not set(DISC_KINDS) & {
                    t.tag for t in sentence[group.last : _clause_end(sentence, group.last)]
                }:
                    out[k] = group._replace(role="excepted")
                last = group.last
    return out


def _clause_end(sentence: list[Token], i: int) -> int:
    """Where the clause of token i ends; ", which ..." still belongs to it."""
    for j in range(i, len(sentence)):
        relative = [t.word for t in sentence[j + 1 : j + 2]]
        if sentence[j].tag == "stop" or (
            sentence[j].tag == "," and relative not in (["which"], ["that"], ["where"], ["it"])
        ):
            return j
    return len(sentence)
