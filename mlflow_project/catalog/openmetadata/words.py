"""The words of the guide as a glossary: each word with the sentence that defines it. Pure.

In: the page `docs/guide/words.md`. A sentence that begins "A chunk is a ..." defines the word "chunk".
"""

from __future__ import annotations

import re

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_DEFINES = re.compile(r"(?:An?|The) ([a-z][a-z ]{1,38}?)(?: of a release)? is (?:an? |the |who |one |where |cut ).+[.]")


def words_of(page: str) -> dict[str, str]:
    """Word -> the first sentence that defines it."""
    found: dict[str, str] = {}
    for sentence in _SENTENCE.split(page):
        defined = _DEFINES.fullmatch(sentence.strip())
        if defined:
            found.setdefault(defined[1], sentence.strip())
    return found
