"""Turns the spans of a document into chunks, each with its id and the headings above it.

`chunk_id` is BLAKE2b (128 bits) of document id, splitter name, chunk text and, if a document holds the same chunk more
than once, the number of the occurrence. So it is the same on every machine, in every order and partition.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from mlflow_project.rules.chunking.splitter import Splitter, split
from mlflow_project.rules.chunking.structure import Heading, Structure, structure_of


class Chunk(NamedTuple):
    """A slice of a document: `document[start:end] == text`, in code points; `number` counts from 0.
    `heading_path` begins with the outermost heading. `metadata` is None if the chunk has the document's metadata."""

    chunk_id: str
    number: int
    start: int
    end: int
    heading_path: str
    text: str
    metadata: str | None = None


def chunks_of(document_id: str, text: str, splitter: Splitter, blocks: Sequence[tuple[int, int]] = ()) -> list[Chunk]:
    """Cut a document into chunks. `blocks` (the turns of a conversation) replace its Markdown structure."""
    structure = Structure(blocks=tuple(blocks)) if blocks else structure_of(text)
    base = hashlib.blake2b(f"{document_id}\0{splitter.name}\0".encode(), digest_size=16)
    paths = _paths(structure.headings)
    seen: dict[str, int] = {}
    found = []
    for number, (start, end) in enumerate(split(text, splitter, structure)):
        part = text[start:end]
        name = _identity(base, part, 0)
        occurrence = seen.get(name, 0)
        seen[name] = occurrence + 1
        if occurrence:
            name = _identity(base, part, occurrence)
        path = paths[bisect_right(structure.headings, (start, len(text) + 1)) - 1] if paths else ""
        found.append(Chunk(name, number, start, end, path, part))
    return found


def _identity(base: hashlib.blake2b, text: str, occurrence: int) -> str:
    whole = base.copy()
    whole.update(text.encode())
    if occurrence:
        whole.update(b"\0%d" % occurrence)
    return whole.hexdigest()


def _paths(headings: Sequence[Heading]) -> list[str]:
    """The path at each heading, and at index -1 the empty path of text before the first heading."""
    open_headings: list[Heading] = []
    paths = []
    for heading in headings:
        while open_headings and open_headings[-1].level >= heading.level:
            open_headings.pop()
        open_headings.append(heading)
        paths.append(" > ".join(above.text for above in open_headings))
    return [*paths, ""] if paths else []
