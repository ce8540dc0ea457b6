"""Words of dictated notes: spelling, joined words, sentences."""

import random

import pytest

from lhdlib.data.grammar.words import _LISTS, LEXICON, MAX_SENTENCE, read_words, split_sentences


def tags(text: str) -> list[str]:
    return [token.tag for token in read_words(text)]


def test_every_word_of_the_lexicon_has_one_tag():
    words = [word for listed in _LISTS["tags"].values() for word in listed.split()]
    assert len(words) == len(set(words)) and all(word == word.lower() for word in words)


def test_a_typo_in_a_long_word_keeps_its_tag():
    rng = random.Random(0)
    for word in ("protrusion", "herniation", "extrusion", "compression", "sequestration", "foraminal"):
        for _ in range(30):
            i = rng.randrange(len(word) - 1)
            wrong = rng.choice((word[:i] + word[i + 1 :], word[: i + 1] + word[i:], word[:i] + "x" + word[i + 1 :]))
            assert tags(wrong) == [LEXICON[word]], wrong


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("discbulge", ["disc", "bulge"]),
        ("atL4", ["at", "vertebra"]),
        ("bul ge", ["bulge"]),
        ("L4\\5", ["vertebra", "/", "number"]),
        ("bulky", [""]),
        ("tares", [""]),
        ("3.5 mm", ["number", ""]),
    ],
)
def test_tags(text: str, expected: list[str]):
    assert tags(text) == expected


def test_tokens_point_at_their_words():
    text = "Mild  discbulge, L4-L5;\nno tear"
    assert [text[t.start : t.end].lower() for t in read_words(text)] == [t.word for t in read_words(text)]


@pytest.mark.parametrize(
    ("text", "count"),
    [("a. b", 2), ("a\nb", 2), ("no\nbulge", 1), ("a; b", 2), ("3.5 mm", 1), ("", 0), ("x " * 700, 3)],
)
def test_sentences(text: str, count: int):
    sentences = list(split_sentences(read_words(text)))
    assert len(sentences) == count and all(len(sentence) <= MAX_SENTENCE for sentence in sentences)
