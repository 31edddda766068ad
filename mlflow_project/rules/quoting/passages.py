"""Retrieved chunks -> the sentences in them, each with its place in its document.

Chunks of one document that touch or overlap are joined first, so that a sentence cut by a chunk's end is whole again
and none is seen twice. Markdown is understood as far as quoting needs it: a heading is not a sentence but belongs to
those below it; list items, table rows and lines of code stand alone; the lines of a paragraph are one text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlflow_project.domain.answer import Context

_HEADING = re.compile(r"\s{0,3}#{1,6}\s+(\S.*)")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+")
_ROW = re.compile(r"\s*\|(.*)\|\s*$")
_RULE = re.compile(r"[\s|:=*_-]+$")
_END = re.compile(r"(?<=[.!?])[\"'”’)\]*_`]*\s+(?=[\"'“‘(\[*_`]*[^\Wa-z_])|(?<=[。！？।؟])\s*")
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|e\.g|i\.e|cf|No|Vol|Fig|Gen|Col|Lt|Sgt|Rev|Hon|Inc|Ltd|Co|approx|ca)"
    r"|\b[A-Z]\.[A-Z])\.$"
)


@dataclass(frozen=True)
class Sentence:
    """`text` has its white space collapsed; `start` and `end` are exact code points of the document. `rank`: the place
    of its chunk among the contexts, from 0; `above`: the title and the heading that it stands under."""

    text: str
    chunk_id: str
    document_id: str
    start: int
    end: int
    rank: int
    above: str


@dataclass(frozen=True)
class _Passage:
    document_id: str
    title: str
    text: str
    start: int
    chunks: tuple[tuple[int, str, int], ...]
    """(end in the document, chunk id, rank) in the order of the text."""


def sentences_of(contexts: Sequence[Context]) -> list[Sentence]:
    """Every sentence of the contexts, once."""
    return [sentence for passage in _passages(contexts) for sentence in _sentences(passage)]


def _passages(contexts: Sequence[Context]) -> Iterator[_Passage]:
    ranked = sorted(enumerate(contexts), key=lambda item: (item[1].document_id, item[1].start, -item[1].end))
    open_passage: _Passage | None = None
    for rank, chunk in ranked:
        joined = _join(open_passage, rank, chunk) if open_passage else None
        if joined is None and open_passage is not None:
            yield open_passage
        entry = (chunk.end, chunk.chunk_id, rank)
        open_passage = joined or _Passage(chunk.document_id, chunk.title, chunk.text, chunk.start, (entry,))
    if open_passage is not None:
        yield open_passage


def _join(passage: _Passage, rank: int, chunk: Context) -> _Passage | None:
    end = passage.start + len(passage.text)
    if chunk.document_id != passage.document_id or chunk.start > end:
        return None
    text = passage.text + chunk.text[end - chunk.start :]
    chunks = (*passage.chunks, (chunk.end, chunk.chunk_id, rank))
    return _Passage(passage.document_id, passage.title, text, passage.start, chunks)


def _sentences(passage: _Passage) -> Iterator[Sentence]:
    for start, end, heading in _blocks(passage.text):
        for first, last in _spans(passage.text, start, end):
            text = " ".join(passage.text[first:last].split())
            chunk_id, rank = _holder(passage, first)
            place = passage.start + first, passage.start + last
            above = f"{passage.title} {heading}".strip()
            yield Sentence(text, chunk_id, passage.document_id, *place, rank, above)


def _holder(passage: _Passage, offset: int) -> tuple[str, int]:
    """The chunk that holds the first character at this offset."""
    place = passage.start + offset
    for end, chunk_id, rank in passage.chunks:
        if place < end:
            return chunk_id, rank
    _, chunk_id, rank = passage.chunks[-1]
    return chunk_id, rank


def _blocks(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, heading above) of everything that sentences do not cross."""
    heading, begun, offset, fenced = "", -1, 0, False
    for line in text.splitlines(keepends=True):
        start, offset = offset, offset + len(line)
        title = None if fenced else _HEADING.match(line.rstrip())
        alone = fenced or _ROW.match(line) is not None
        if begun >= 0 and (alone or title or not line.strip() or _ITEM.match(line) or _FENCE.match(line)):
            yield begun, start, heading
            begun = -1
        if _FENCE.match(line):
            fenced = not fenced
        elif title:
            heading = title.group(1).rstrip("#").rstrip()
        elif alone:
            yield start, offset, heading
        elif line.strip() and begun < 0:
            item = _ITEM.match(line)
            begun = start + (item.end() if item else 0)
    if begun >= 0:
        yield begun, len(text), heading


def _spans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The sentences of a block, without the white space around them."""
    begin = start
    for match in _END.finditer(text, start, end):
        stop = match.start() + len(match.group().rstrip())
        if _ABBREVIATION.search(text, max(begin, match.start() - 12), match.start()):
            continue
        yield from _trimmed(text, begin, stop)
        begin = match.end()
    yield from _trimmed(text, begin, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    if piece.strip() and not _RULE.fullmatch(piece):
        yield start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
