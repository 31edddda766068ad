"""Cuts a text into overlapping spans, if possible between sections, paragraphs, lines, sentences or words.

In: a text, a `Splitter`, and blocks that should stay whole (fences, tables, the turns of a conversation). Out: spans
(start, end) in code points. `end` grows from span to span. No span is longer than the size, and none begins or ends
with white space. Only white space is between spans. Equal input gives equal spans.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from mlflow_project.errors import InvalidData
from mlflow_project.rules.chunking.structure import PLAIN, Structure

ALGORITHM = "switchyard/1"
BYTES_PER_TOKEN = 4
"""Tokens are estimated as one per four bytes of UTF-8, the rule of thumb that providers publish."""

_FULL_STOPS = "。！？｡．…।॥؟۔։።។။"
_ENDS = rf"(?:(?<=[\n{_FULL_STOPS}])|(?=[ \n]))"  # an ASCII full stop ends a sentence only before white space
_LAST_SENTENCE = re.compile(rf"(?s:.*)[.!?{_FULL_STOPS}]{_ENDS}").match
_STARTS = re.compile(rf"[\n.!?{_FULL_STOPS}]{_ENDS}\s*").search
"""Finds the end of a line or sentence, and the white space after it."""
_INK = re.compile(r"\S").search
_CONTINUATION = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that do not begin a character."""
_CLOSING = "\"'”’」』）)】》»"

Span = tuple[int, int]


@dataclass(frozen=True)
class Splitter:
    """Size and overlap, in characters (code points) or estimated tokens. Every row of a table names its splitter."""

    size: int = 700
    overlap: int = 100
    unit: Literal["characters", "tokens"] = "characters"

    def __post_init__(self) -> None:
        if self.size < 8 or not 0 <= self.overlap <= self.size // 2 or self.unit not in ("characters", "tokens"):
            raise InvalidData(
                f"A chunk of {self.size} {self.unit} with an overlap of {self.overlap} cannot be made: the size "
                "must be at least 8, the overlap at most half of it, the unit `characters` or `tokens`."
            )

    @property
    def name(self) -> str:
        return f"{ALGORITHM} size={self.size} overlap={self.overlap} unit={self.unit}"


def split(text: str, splitter: Splitter, structure: Structure = PLAIN) -> list[Span]:
    """The spans of a text, in order. A text of nothing but white space has none."""
    return _Cutter(text, splitter, structure).spans()


class _Cutter:
    def __init__(self, text: str, splitter: Splitter, structure: Structure) -> None:
        self.text = text
        self.length = len(text)
        self.splitter = splitter
        self.in_tokens = splitter.unit == "tokens"
        self.headings = structure.headings
        self.heading_starts = [heading.start for heading in structure.headings]
        self.blocks = structure.blocks
        self.block_starts = [start for start, _ in structure.blocks]
        self.structured = bool(self.headings or self.blocks)
        self.paragraphs = ("\n\n", "\r\n\r\n") if "\r" in text else ("\n\n",)

    def spans(self) -> list[Span]:
        found: list[Span] = []
        fresh = start = self._skip_space(0)  # `fresh`: the first character that no span holds yet
        while fresh < self.length:
            limit = self._reach(start)
            cut = self.length if limit >= self.length else self._cut(start, fresh, limit)
            end = cut
            while self.text[end - 1].isspace():
                end -= 1
            found.append((start, end))
            fresh = self._skip_space(cut)
            start = self._overlapped(start, end, fresh)
        return found

    def _reach(self, start: int) -> int:
        """The furthest end of a span that starts here."""
        if not self.in_tokens:
            return start + self.splitter.size
        budget = self.splitter.size * BYTES_PER_TOKEN
        window = self.text[start : start + budget]
        if window.isascii():
            return start + budget
        encoded = window.encode("utf-8", "surrogatepass")
        while budget < len(encoded) and encoded[budget] in _CONTINUATION:
            budget -= 1
        return start + len(encoded[:budget].decode("utf-8", "surrogatepass"))

    def _cut(self, start: int, fresh: int, limit: int) -> int:
        """The end of a span that cannot hold the rest of the text: after `fresh`, at most at `limit`."""
        cut = self._separator(start, fresh, limit)
        return self._keep_together(start, fresh, limit, cut) if self.structured else cut

    def _separator(self, start: int, fresh: int, limit: int) -> int:
        text = self.text
        low = max(start + (limit - start) // 2, fresh + 1)
        if self.headings:
            place = bisect_right(self.heading_starts, limit) - 1
            if place >= 0 and self.heading_starts[place] >= low:
                return self.heading_starts[place]
        line = text.rfind("\n", low, limit)
        if line >= 0:
            for blank in self.paragraphs:
                place = text.rfind(blank, low, line + 1)
                if place >= 0:
                    return place
            return line
        sentence = _LAST_SENTENCE(text, low, limit)
        if sentence:
            return self._after_closing(sentence.end(), limit)
        place = text.rfind(" ", fresh + 1, limit)
        return place if place >= 0 else self._whole_character(fresh + 1, limit)

    def _after_closing(self, place: int, limit: int) -> int:
        while place < limit and self.text[place] in _CLOSING:
            place += 1
        return place

    def _whole_character(self, low: int, place: int) -> int:
        """A position near `place` that is not before a combining mark or a joiner, if there is one."""
        for earlier in range(place, max(low, place - 16), -1):
            after, before = self.text[earlier], self.text[earlier - 1]
            if not unicodedata.combining(after) and after not in "\u200d\ufe0f" and before != "\u200d":
                return earlier
        return place

    def _keep_together(self, start: int, fresh: int, limit: int, cut: int) -> int:
        """Move a cut out of a block that fits into one span, and away from directly below a heading."""
        place = bisect_left(self.block_starts, cut) - 1
        if place >= 0 and self.blocks[place][1] > cut:
            block_start, block_end = self.blocks[place]
            if block_end <= self._reach(block_start):
                if block_start > fresh:
                    cut = block_start
                elif block_end <= limit:
                    cut = block_end
        place = bisect_left(self.heading_starts, cut) - 1
        if place < 0 or self.heading_starts[place] <= fresh or self._says_something(self.headings[place].end, cut):
            return cut
        return self.heading_starts[max(self.above[place], bisect_right(self.heading_starts, fresh))]

    @cached_property
    def above(self) -> list[int]:
        """For each heading, the first of the headings directly above it, without text between them; or itself."""
        firsts: list[int] = []
        for number, heading in enumerate(self.headings):
            joined = number and not self._says_something(self.headings[number - 1].end, heading.start)
            firsts.append(firsts[-1] if joined else number)
        return firsts

    def _says_something(self, start: int, end: int) -> bool:
        return _INK(self.text, start, end) is not None

    def _overlapped(self, start: int, end: int, fresh: int) -> int:
        """The start of the next span: at most the overlap before `fresh`, at the start of a line, sentence or word. It
        is `fresh` itself where a heading or a block begins."""
        if not self.splitter.overlap or fresh >= self.length or (self.structured and self._begins_structure(fresh)):
            return fresh
        low = max(self._back(end), start + (end - start) // 2)
        begins = _STARTS(self.text, low, end)
        place = begins.end() if begins and begins.end() < end else self._word(low, end)
        if self.blocks:
            at = bisect_right(self.block_starts, place) - 1
            if at >= 0 and self.blocks[at][0] < place < self.blocks[at][1] <= fresh:
                return fresh
        return place if place < end and self._reach(place) > fresh else fresh

    def _back(self, end: int) -> int:
        if not self.in_tokens:
            return end - self.splitter.overlap
        budget = self.splitter.overlap * BYTES_PER_TOKEN
        window = self.text[max(0, end - budget) : end]
        kept = window.encode("utf-8", "surrogatepass")[-budget:].lstrip(_CONTINUATION)
        return end - len(kept.decode("utf-8", "surrogatepass"))

    def _word(self, low: int, end: int) -> int:
        """The first start of a word after `low`; `low` itself if there is none."""
        space = self.text.find(" ", low, end)
        return self._skip_space(space + 1 if space >= 0 else self._whole_character(max(low - 16, 0), low))

    def _begins_structure(self, place: int) -> bool:
        """Whether a heading or a block begins in the line of `place`."""
        line = self.text.rfind("\n", 0, place) + 1
        for starts in (self.heading_starts, self.block_starts):
            at = bisect_left(starts, line)
            if at < len(starts) and starts[at] <= place:
                return True
        return False

    def _skip_space(self, place: int) -> int:
        ink = _INK(self.text, place)
        return ink.start() if ink else self.length
