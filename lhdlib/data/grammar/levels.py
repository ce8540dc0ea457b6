"""Level expressions: ``L4-5``, ``L3 to S1``, "last two discs"."""

from typing import NamedTuple

from lhdlib.data.grammar.words import NUMBERS, Token

LUMBAR_LEVELS = ("L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")


_VERTEBRAE = [f"{region}{i}" for region, last in (("C", 7), ("T", 12), ("L", 5), ("S", 5)) for i in range(1, last + 1)]
PLACE = {name: i for i, name in enumerate(_VERTEBRAE)} | {f"D{i}": 6 + i for i in range(1, 13)}
_L5 = PLACE["L5"]


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
    if name in PLACE:
        return [PLACE[name]]
    pair = [PLACE.get(region + digit) for digit in digits]
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


def find_groups(sentence: list[Token]) -> list[Group]:
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
