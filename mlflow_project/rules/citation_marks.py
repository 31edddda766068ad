"""The marks by which a model cites: `[2]`, `[1, 3]` or `[chunk 2]`, the numbers of the chunks that it was given.

In: an answer's text. Out: the numbers, or the text as it reads without the marks.
"""

from __future__ import annotations

import re

_MARK = re.compile(r"(?<!\s)\s*\[(?:chunks?\s*)?(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]", re.IGNORECASE)

_MOST_CHARS = 300_000
"""Longer than any model answers; looked at on the event loop, in at most some tens of milliseconds."""


def cited_numbers(text: str) -> list[int]:
    """The numbers of all marks in the first 300,000 characters, in the order of the text, each once."""
    if "[" not in text:
        return []
    marks = dict.fromkeys(_MARK.findall(text[:_MOST_CHARS]))
    return list(dict.fromkeys(number for mark in marks for number in _numbers(mark)))


def without_marks(text: str, chunks: int) -> str:
    """The text without the marks that name one of so many chunks; any other number in brackets is text."""
    return _MARK.sub(lambda mark: "" if _all_there(mark[1], chunks) else mark[0], text).strip()


def _all_there(numbers: str, chunks: int) -> bool:
    return all(1 <= number <= chunks for number in _numbers(numbers))


def _numbers(numbers: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", numbers)]
