"""The one pass over raw rows: each becomes a document with its chunks, a known document, or a rejection.

Runs on executors, which need `mlflow_project.rules.chunking` and orjson besides Spark's own Arrow. In: batches of
`value`, `file`, `block`. Out: batches of `EXAMINED`. Lines are counted within their block; blocks are added up later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.sql import DataFrame

from mlflow_project.rules.chunking.chunks import Chunk, chunks_of
from mlflow_project.rules.chunking.files import read_file
from mlflow_project.rules.chunking.records import Document, Fields, Rejected, chunk_metadata, read_line
from mlflow_project.rules.chunking.splitter import Splitter
from mlflow_project.rules.quality.selection import Quality, judge, marks_of

EXAMINED = (
    "file string, block long, line long, reason string, sentence string, raw binary, document_id string, "
    "document_hash string, text_hash string, signature array<int>, fresh boolean, title string, text string, "
    "language string, metadata string, "
    "chunks array<struct<chunk_id: string, index: int, start: int, end: int, heading_path: string, text: string, "
    "metadata: string>>"
)
_CHUNK = pa.struct(
    [
        ("chunk_id", pa.string()),
        ("index", pa.int32()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("heading_path", pa.string()),
        ("text", pa.string()),
        ("metadata", pa.string()),
    ]
)
_PLAIN = [
    *("file", "block", "line", "reason", "sentence", "raw", "document_id", "document_hash"),
    *("text_hash", "signature", "fresh", "title", "text", "language", "metadata"),
]
_TYPES = {
    "block": pa.int64(),
    "line": pa.int64(),
    "raw": pa.binary(),
    "fresh": pa.bool_(),
    "signature": pa.list_(pa.int32()),
}


@dataclass(frozen=True)
class Examiner:
    """What the pass must know: field names, splitter, whether rows are whole files, their base folder, and quality."""

    fields: Fields
    splitter: Splitter
    whole_files: bool
    base: str
    quality: Quality = field(default_factory=Quality)

    def read(self, value: bytes, file: str) -> Document | Rejected:
        """One row as a document or a rejection."""
        found = read_file(value, file, self.base) if self.whole_files else read_line(value, self.fields)
        return judge(found, self.quality) if isinstance(found, Document) else found

    def chunks(self, document: Document) -> list[Chunk]:
        """The chunks of a document; those of a conversation say which turns they hold."""
        found = chunks_of(document.document_id, document.text, self.splitter, document.blocks)
        if not document.blocks:
            return found
        return [each._replace(metadata=chunk_metadata(document, each.start, each.end)) for each in found]


def examine(rows: DataFrame, examiner: Examiner, known: Broadcast[NDArray[np.uint64]]) -> DataFrame:
    """Examine all rows; documents whose hash is in `known` come back without text and chunks."""
    return rows.mapInArrow(partial(_examine, examiner=examiner, known=known), EXAMINED)


def number(rows: DataFrame) -> DataFrame:
    """The raw rows with their line within the block: to fetch the bytes of rows that were rejected late."""
    return rows.mapInArrow(_number, "file string, block long, line long, raw binary")


def fingerprints(hashes: list[str]) -> NDArray[np.uint64]:
    """Document hashes shortened to 64 bits and sorted: 8 bytes a known document on every executor."""
    return np.sort(np.array([int(each[:16], 16) for each in hashes], dtype=np.uint64))


class _Lines:
    """Counts lines within a block; the rows of a block arrive in order."""

    def __init__(self) -> None:
        self.place: tuple[str, int] | None = None
        self.line = -1

    def next(self, file: str, block: int) -> int:
        self.line = self.line + 1 if (file, block) == self.place else 0
        self.place = (file, block)
        return self.line


def _examine(
    batches: Iterator[pa.RecordBatch], examiner: Examiner, known: Broadcast[NDArray[np.uint64]]
) -> Iterator[pa.RecordBatch]:
    lines, seen = _Lines(), known.value
    for batch in batches:
        values, files, blocks = (column.to_pylist() for column in batch.columns)
        places = [(file, block, lines.next(file, block)) for file, block in zip(files, blocks, strict=True)]
        found = [examiner.read(value or b"", file) for value, file in zip(values, files, strict=True)]
        fresh = _fresh(found, seen)
        yield _batch(
            [
                _row(place, value, result, is_fresh, examiner)
                for place, value, result, is_fresh in zip(places, values, found, fresh, strict=True)
            ]
        )


def _fresh(found: list[Document | Rejected], seen: NDArray[np.uint64]) -> list[bool]:
    hashes = [int(each.document_hash[:16], 16) if isinstance(each, Document) else 0 for each in found]
    if not len(seen):
        return [True] * len(found)
    asked = np.array(hashes, dtype=np.uint64)
    at = np.minimum(np.searchsorted(seen, asked), len(seen) - 1)
    return [bool(new) for new in seen[at] != asked]


def _row(
    place: tuple[str, int, int], value: bytes, found: Document | Rejected, fresh: bool, examiner: Examiner
) -> tuple[Any, ...]:
    if isinstance(found, Rejected):
        return (*place, found.reason.value, found.sentence, value, *[None] * 4, False, *[None] * 5)
    marks = marks_of(found.text, examiner.quality)
    named = (*place, None, None, None, found.document_id, found.document_hash, *marks, fresh)
    if not fresh:
        return (*named, None, None, None, None, None)
    return (*named, found.title, found.text, found.language, found.metadata, examiner.chunks(found))


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))
    arrays = [
        pa.array(column, type=_TYPES.get(name, pa.string())) for name, column in zip(_PLAIN, columns[:-1], strict=True)
    ]
    return pa.RecordBatch.from_arrays([*arrays, _chunk_lists(columns[-1])], names=[*_PLAIN, "chunks"])


def _chunk_lists(lists: tuple[list[Chunk] | None, ...]) -> pa.ListArray:
    offsets = [0]
    flat: list[Chunk] = []
    for chunks in lists:
        flat += chunks or ()
        offsets.append(len(flat))
    fields = zip(*flat, strict=True) if flat else [()] * len(_CHUNK)
    arrays = [pa.array(values, type=kind.type) for values, kind in zip(fields, _CHUNK, strict=True)]
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.StructArray.from_arrays(arrays, fields=list(_CHUNK))
    )


def _number(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    lines = _Lines()
    for batch in batches:
        files, blocks = batch.column("file").to_pylist(), batch.column("block").to_pylist()
        counted = pa.array([lines.next(file, block) for file, block in zip(files, blocks, strict=True)], pa.int64())
        columns = [batch.column("file"), batch.column("block"), counted, batch.column("value")]
        yield pa.RecordBatch.from_arrays(columns, names=["file", "block", "line", "raw"])
