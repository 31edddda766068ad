"""Words, sentences and normalised text, as the scorers compare them.

Text is normalised as in SQuAD's evaluation script (Rajpurkar et al. 2016): lower case, no punctuation, no English
articles.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+(?:[.,:/-]\w+)*", re.UNICODE)
_SENTENCE_END = re.compile(r"(?<=[.!?。！？।؟])\s+|\n+")
_ARTICLES = frozenset({"a", "an", "the"})
_COMMON = """
about all also am and any are as at be because been but by can did do does for from had has have he her his how i if
in into is it its may me more my no not of on only or our she so some than that their them then there these they this
to up us was we were what when where which while who whom whose why will with would you your
"""
_STOP_WORDS = _ARTICLES | frozenset(_COMMON.split())


def words(text: str) -> list[str]:
    """Lower-case words without articles. Dots, colons and hyphens inside a word stay: `v2.1`, `10:30`, `a-b`."""
    return [word for word in _WORD.findall(text.casefold()) if word not in _ARTICLES]


def normalised(text: str) -> str:
    """The words, joined by single spaces."""
    return " ".join(words(text))


def content_words(text: str) -> set[str]:
    """The distinct words that carry meaning: no articles, pronouns, auxiliaries or prepositions."""
    return {_stem(word) for word in words(text) if word not in _STOP_WORDS}


def sentences(text: str) -> list[str]:
    """The sentences of a text, by end marks and line breaks."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def holds(text: str, part: str) -> bool:
    """Whether `text` contains the words of `part`, one after the other."""
    return bool(wanted := normalised(part)) and f" {wanted} " in f" {normalised(text)} "


def _stem(word: str) -> str:
    """The word without a plural `s`, so that plural and singular compare equal."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
