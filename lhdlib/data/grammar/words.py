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

DISC_KINDS = ("bulge", "protrusion", "herniation", "extrusion", "sequestration", "annular tear")

_LISTS = tomllib.loads(Path(__file__).with_name("lexicon.toml").read_text(encoding="utf-8"))
LEXICON = {word: tag for tag, words in _LISTS["tags"].items() for word in words.split()}
PHRASES = {tuple(phrase.split()): tag for tag, phrases in _LISTS["phrases"].items() for phrase in phrases}
NUMBERS: dict[str, int] = _LISTS["numbers"]
_LONG_WORDS = [word for word, tag in LEXICON.items() if len(word) >= 5 and tag not in ("unclear", "foreign")]
_LONGEST_PHRASE = max(map(len, PHRASES))
_OPENINGS = {phrase[0] for phrase in PHRASES}


@lru_cache(maxsize=20_000)
def known_word(word: str) -> str:
    """Word of the lexicon that a lower-case word is, forgiving one typo in four letters; "" when there is none."""
    if word in LEXICON or not 5 <= len(word) <= MAX_WORD:
        return word if word in LEXICON else ""
    match = process.extractOne(word, _LONG_WORDS, scorer=OSA.distance, score_cutoff=min(len(word) // 4, 3))
    turned = word[:2] in ("un", "in")  # "inadequate" is no typo of "adequate"
    return match[0] if match and not (turned and match[0] == word[2:]) else ""


class Token(NamedTuple):
    """A word, number, vertebra or mark of the note; `tag` is its part in the grammar."""

    tag: str
    word: str
    start: int
    end: int


_TOKEN = re.compile(
    r"(?P<vertebra>(?:(?<![^\W\d_])|(?<=\bat)|(?<=\band))(?:[CDTS] ?|L[ -]?)[0-9]{1,2}(?![0-9]))"
    r"|(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<word>(?:at|and)(?=[DTLS][0-9])|[^\W\d_]+n['’`]t\b|[^\W\d_]+)"
    r"|(?P<cut>\n|///?|[;|•])|(?P<mark>[-–—−‐/\\,&.:()+?*_=])",
    re.IGNORECASE,
)
_MARKS = {**dict.fromkeys("-–—−‐_=", "-"), "\\": "/", "+": "and", "&": "and", "?": "hedge"}


def read_words(text: str) -> list[Token]:
    """Words and marks of a note in reading order; "discbulge" is split in two, "bul ge" is mended."""
    out: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind, word, (start, end) = str(match.lastgroup), match.group().lower(), match.span()
        if kind != "word":
            out.append(Token(_MARKS.get(word, word) if kind == "mark" else kind, word, start, end))
            continue
        word = re.sub("[’`]", "'", word)
        before = out[-1] if out else None
        known = known_word(word)
        if not known and before and before.word.isalpha() and not known_word(before.word):
            whole = before.word + word
            if len(whole) >= 5 and whole in LEXICON and text[before.end : start] == " ":
                out[-1] = Token(LEXICON[whole], whole, before.start, end)
                continue
        cut = 0 if known else _seam(word)
        if cut:
            out.append(Token(LEXICON[word[:cut]], word[:cut], start, start + cut))
            word, start = word[cut:], start + cut
            known = word
        out.append(Token(LEXICON[known] if known else "", word, start, end))
    return list(_with_phrases(out))


def _with_phrases(tokens: list[Token]) -> Iterator[Token]:
    """Tokens, those of an expression of several words as one."""
    i = 0
    while i < len(tokens):
        longest = _LONGEST_PHRASE if tokens[i].word in _OPENINGS else 1
        words = tuple(token.word for token in tokens[i : i + longest])
        n = next((n for n in range(len(words), 0, -1) if words[:n] in PHRASES), 0)
        if n:
            yield Token(PHRASES[words[:n]], " ".join(words[:n]), tokens[i].start, tokens[i + n - 1].end)
        else:
            yield tokens[i]
        i += n or 1


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
