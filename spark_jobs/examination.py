"""Examining raw rows on executors: documents, known documents, rejections. Part of the pass of `staging`.

Needs `mlflow_project.rules.chunking` and orjson besides Spark's own Arrow. Lines are counted within their block; blocks
are added up later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlflow_project.rules.chunking.files import read_file
from mlflow_project.rules.chunking.records import Document, Fields, Rejected, read_line
from mlflow_project.rules.quality.selection import Quality, judge, marks_of
from spark_jobs.rows import Place, Row

EXAMINED = pa.schema(
    [
        ("file", pa.string()),
        ("block", pa.int64()),
        ("line", pa.int64()),
        ("reason", pa.string()),
        ("sentence", pa.string()),
        ("raw", pa.binary()),
        ("document_id", pa.string()),
        ("document_hash", pa.string()),
        ("text_hash", pa.string()),
        ("signature", pa.list_(pa.int32())),
        ("fresh", pa.bool_()),
    ]
)
"""The light row of a raw row. `raw`: the bytes of a rejected one; `fresh`: whether the document is not known yet."""

Found = tuple[Place, bytes | None, Document | Rejected]
"""A raw row, read: its place, its bytes where it was rejected, and what it is."""


@dataclass(frozen=True)
class Examiner:
    """What the pass must know: field names, whether rows are whole files, their base folder, and quality."""

    fields: Fields
    whole_files: bool
    base: str
    quality: Quality = field(default_factory=Quality)

    def find(self, place: Place, value: bytes) -> Found:
        """One row, with its bytes only where somebody will ask for them: a batch is held in memory but once."""
        found = self.read(value, place[0])
        return place, value if isinstance(found, Rejected) else None, found

    def read(self, value: bytes, file: str) -> Document | Rejected:
        """One row as a document or a rejection."""
        found = read_file(value, file, self.base) if self.whole_files else read_line(value, self.fields)
        return judge(found, self.quality) if isinstance(found, Document) else found


NUMBERED = "file string, block long, line long, raw binary"


def number(rows: Iterator[list[Row]]) -> Iterator[pa.RecordBatch]:
    """The raw rows with their places: to fetch the bytes of rows that were rejected late."""
    for some in rows:
        places, values = zip(*some, strict=True)
        files, blocks, lines = zip(*places, strict=True)
        columns = [pa.array(files), pa.array(blocks), pa.array(lines), pa.array(values, pa.binary())]
        yield pa.RecordBatch.from_arrays(columns, names=["file", "block", "line", "raw"])


def fingerprints(hashes: list[str]) -> NDArray[np.uint64]:
    """Document hashes shortened to 64 bits and sorted: 8 bytes a known document on every executor."""
    return np.sort(np.array([int(each[:16], 16) for each in hashes], dtype=np.uint64))


def new_among(hashes: list[str], known: NDArray[np.uint64]) -> list[bool]:
    """Which documents are not known, by their hashes."""
    if not len(known):
        return [True] * len(hashes)
    asked = np.array([int(each[:16], 16) for each in hashes], dtype=np.uint64)
    at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return [bool(new) for new in known[at] != asked]


def examined(found: list[Found], fresh: set[str], examiner: Examiner) -> list[pa.Array]:
    """The columns of `EXAMINED`; `fresh` are the hashes of documents that are not known."""
    rows = [_row(*each, fresh, examiner) for each in found]
    columns = zip(*rows, strict=True) if rows else [()] * len(EXAMINED)
    return [pa.array(column, each.type) for column, each in zip(columns, EXAMINED, strict=True)]


def _row(
    place: Place, value: bytes | None, found: Document | Rejected, fresh: set[str], examiner: Examiner
) -> tuple[Any, ...]:
    if isinstance(found, Rejected):
        return (*place, found.reason.value, found.sentence, value, None, None, None, None, False)
    marks = marks_of(found.text, examiner.quality)
    return (*place, None, None, None, found.document_id, found.document_hash, *marks, found.document_hash in fresh)
