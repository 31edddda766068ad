"""The one pass over raw rows: each becomes a document, a known document, or a rejection.

Runs on executors, which need `mlflow_project.rules.chunking` and orjson besides Spark's own Arrow. In: batches of
`value`, `file`, `block`. Out: batches of `EXAMINED`. Lines are counted within their block; blocks are added up later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.sql import DataFrame

from mlflow_project.rules.chunking.files import read_file
from mlflow_project.rules.chunking.records import Document, Fields, Rejected, read_line
from mlflow_project.rules.quality.selection import Quality, judge, marks_of

EXAMINED = (
    "file string, block long, line long, reason string, sentence string, raw binary, document_id string, "
    "document_hash string, text_hash string, signature array<int>, fresh boolean, title string, text string, "
    "language string, metadata string, blocks array<int>"
)
_COLUMNS: dict[str, pa.DataType] = {
    "file": pa.string(),
    "block": pa.int64(),
    "line": pa.int64(),
    "reason": pa.string(),
    "sentence": pa.string(),
    "raw": pa.binary(),
    "document_id": pa.string(),
    "document_hash": pa.string(),
    "text_hash": pa.string(),
    "signature": pa.list_(pa.int32()),
    "fresh": pa.bool_(),
    "title": pa.string(),
    "text": pa.string(),
    "language": pa.string(),
    "metadata": pa.string(),
    "blocks": pa.list_(pa.int32()),
}


@dataclass(frozen=True)
class Examiner:
    """What the pass must know: field names, whether rows are whole files, their base folder, and quality."""

    fields: Fields
    whole_files: bool
    base: str
    quality: Quality = field(default_factory=Quality)

    def read(self, value: bytes, file: str) -> Document | Rejected:
        """One row as a document or a rejection."""
        found = read_file(value, file, self.base) if self.whole_files else read_line(value, self.fields)
        return judge(found, self.quality) if isinstance(found, Document) else found


def examine(rows: DataFrame, examiner: Examiner, known: Broadcast[NDArray[np.uint64]]) -> DataFrame:
    """Examine all rows; documents whose hash is in `known` come back without their text."""
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
        rows = zip(places, values, found, fresh, strict=True)
        columns = zip(*(_row(*row, examiner) for row in rows), strict=True)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, _COLUMNS.values(), strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, names=list(_COLUMNS))


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
    return (*named, found.title, found.text, found.language, found.metadata, list(chain(*found.blocks)) or None)


def _number(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    lines = _Lines()
    for batch in batches:
        files, blocks = batch.column("file").to_pylist(), batch.column("block").to_pylist()
        counted = pa.array([lines.next(file, block) for file, block in zip(files, blocks, strict=True)], pa.int64())
        columns = [batch.column("file"), batch.column("block"), counted, batch.column("value")]
        yield pa.RecordBatch.from_arrays(columns, names=["file", "block", "line", "raw"])
