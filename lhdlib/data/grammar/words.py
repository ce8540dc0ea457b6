"""A note's words: spelling, typos of dictated notes, joined words, sentences."""

import re
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import OSA

# bounds on hostile notes: characters of a note and of a word, words of a sentence
MAX_NOTE, MAX_WORD, MAX_SENTENCE = 200_000, 25, 300

_LISTS = tomllib.loads(Path(__file__).with_name("lexicon.toml").read_text(encoding="utf-8"))
LEXICON = {word: tag for tag, words in _LISTS["tags"].items() for word in words.split()}
NUMBERS: dict[str, int] = _LISTS["numbers"]
_LONG_WORDS = [word for word in LEXICON if len(word) >= 5]


@lru_cache(maxsize=20_000)
def _tag(word: str) -> str:
    """Tag of a lower-case word, forgiving one typo in five letters, two in eight, three in twelve."""
    if word in LEXICON:
        return LEXICON[word]
    if not 5 <= len(word) <= MAX_WORD:
        return ""
    match = process.extractOne(word, _LONG_WORDS, scorer=OSA.distance, score_cutoff=min(len(word) // 4, 3))
    return LEXICON[match[0]] if match else ""


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


def read_words(text: str) -> list[Token]:
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
            if word not in LEXICON and before.word not in LEXICON and len(whole) >= 5 and LEXICON.get(whole):
                out[-1] = Token(LEXICON[whole], whole, before.start, end)
                continue
        cut = 0 if tag or word in LEXICON else _seam(word)
        if cut:
            out.append(Token(LEXICON[word[:cut]], word[:cut], start, start + cut))
            word, start = word[cut:], start + cut
            tag = LEXICON[word]
        out.append(Token(tag, word, start, end))
    return out


def _seam(word: str) -> int:
    """Where two known words run together, else 0."""
    if len(word) > MAX_WORD:
        return 0
    return next((i for i in range(2, len(word) - 2) if word[:i] in LEXICON and word[i:] in LEXICON), 0)


_DANGLING = {"at", "and", "or", "no", "with", "to", "bilateral", "press"}


def split_sentences(tokens: list[Token]) -> Iterator[list[Token]]:
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
