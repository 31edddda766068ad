"""Finds headings, fenced code and tables of a Markdown text, which should not be cut apart. Offsets are code points.

In: any text; a text that is not Markdown has no structure. Out: a `Structure`, in time linear in the length of the
text. Grammar: CommonMark 0.31 (ATX headings, fenced code blocks) and GitHub's tables (delimiter row).
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}(#{1,6})(?:[ \t]+([^\n]*))?$", re.MULTILINE)
_MOST_INDENT = 3
_DELIMITER = re.compile(r"^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t\r]*$", re.MULTILINE)


class Heading(NamedTuple):
    """A heading line: where it starts and ends, its level (1 to 6) and its text."""

    start: int
    end: int
    level: int
    text: str


class Structure(NamedTuple):
    """Headings and blocks (start, end) in order; blocks do not overlap."""

    headings: tuple[Heading, ...] = ()
    blocks: tuple[tuple[int, int], ...] = ()


PLAIN = Structure()


def structure_of(text: str) -> Structure:
    """Find headings, fences and tables; headings and tables inside a fence are code."""
    fences = tuple(_fences(text))
    headings = tuple(_headings(text, fences))
    tables = tuple(_tables(text, fences)) if "-" in text else ()
    if not (fences or headings or tables):
        return PLAIN
    return Structure(headings, tuple(sorted(fences + tables)))


def _fences(text: str) -> Iterator[tuple[int, int]]:
    start, mark = -1, ""
    marks = chain(_marked(text, "`", _FENCE), _marked(text, "~", _FENCE))
    for match in sorted(marks, key=re.Match.start):
        if start < 0:
            if match[1][0] == "`" and "`" in match[2]:
                continue  # inline code, not a fence
            start, mark = match.start(), match[1]
        elif match[1][0] == mark[0] and len(match[1]) >= len(mark) and not match[2].strip():
            yield start, match.end()
            start = -1
    if start >= 0:
        yield start, len(text)


def _headings(text: str, fences: tuple[tuple[int, int], ...]) -> Iterator[Heading]:
    for match in _marked(text, "#", _HEADING):
        if not _inside(match.start(), fences):
            yield Heading(match.start(), match.end(), len(match[1]), (match[2] or "").strip().rstrip("#").strip())


def _tables(text: str, fences: tuple[tuple[int, int], ...]) -> Iterator[tuple[int, int]]:
    reached = 0
    for match in _delimiters(text):
        if match.start() < max(reached, 1) or _inside(match.start(), fences):
            continue
        head = text.rfind("\n", 0, match.start() - 1) + 1
        if head < reached or "|" not in text[head : match.start()]:
            continue
        reached = _table_end(text, match.end())
        yield head, reached


def _delimiters(text: str) -> Iterator[re.Match[str]]:
    """The delimiter rows below table heads. Looks only at lines that hold a bar."""
    bar = text.find("|")
    while bar >= 0:
        match = _DELIMITER.match(text, text.rfind("\n", 0, bar) + 1)
        if match:
            yield match
        line_end = text.find("\n", bar)
        bar = text.find("|", line_end) if line_end >= 0 else -1


def _table_end(text: str, end: int) -> int:
    while end < len(text):
        line_end = text.find("\n", end + 1)
        line_end = len(text) if line_end < 0 else line_end
        if text.find("|", end + 1, line_end) < 0:
            break
        end = line_end
    return end


def _marked(text: str, mark: str, line: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """The lines that begin with a mark and match, in order. Looks only at lines that hold the mark."""
    place = text.find(mark)
    while place >= 0:
        before = text.rfind("\n", max(place - _MOST_INDENT - 1, 0), place)
        if (before >= 0 or place <= _MOST_INDENT) and (match := line.match(text, before + 1)):
            yield match
        line_end = text.find("\n", place)
        place = text.find(mark, line_end) if line_end >= 0 else -1


def _inside(place: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    """Whether an offset lies in one of these sorted ranges."""
    at = bisect_right(ranges, (place, sys.maxsize)) - 1
    return at >= 0 and place < ranges[at][1]
