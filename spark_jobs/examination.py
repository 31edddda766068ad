"""Reads raw rows on executors: each is a document or a rejection. Part of the pass in `staging`.

Needs `mlflow_project.rules`, numpy and orjson besides Spark's own Arrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlflow_project.rules.chunking.files import read_file
from mlflow_project.rules.chunking.records import EMPTY_FILE, Document, Fields, Rejected, read_line
from mlflow_project.rules.quality.selection import Quality, judge, marks_of
from spark_jobs.rows import ROW_SUMMARY, Row, SourceLocation

Examined = tuple[SourceLocation, bytes | None, Document | Rejected]
"""A raw row after reading: its location, its bytes if it was rejected, and what it holds."""


@dataclass(frozen=True)
class Examiner:
    """How rows are read: the field names, whether a row is a whole file, the folder that ids of files begin at."""

    fields: Fields
    whole_files: bool
    base: str
    quality: Quality = field(default_factory=Quality)

    def examine(self, row: Row) -> Examined:
        """Read one row. The bytes are kept only of a rejected row, so that a batch is in memory once."""
        location, value = row
        found = self.read(value, location[0])
        return location, (value or b"") if isinstance(found, Rejected) else None, found

    def read(self, value: bytes | None, file: str) -> Document | Rejected:
        """Read the bytes of one row; None stands for a file without any row."""
        if value is None:
            return EMPTY_FILE
        found = read_file(value, file, self.base) if self.whole_files else read_line(value, self.fields)
        return judge(found, self.quality) if isinstance(found, Document) else found


def fingerprints(hashes: Sequence[str]) -> NDArray[np.uint64]:
    """Document hashes shortened to 64 bits and sorted: executors get 8 bytes per known document."""
    return np.sort(np.array([int(each[:16], 16) for each in hashes], dtype=np.uint64))


def new_among(hashes: Sequence[str], known: NDArray[np.uint64]) -> list[bool]:
    """For each hash, whether no known document has its fingerprint."""
    if not len(known):
        return [True] * len(hashes)
    asked = np.array([int(each[:16], 16) for each in hashes], dtype=np.uint64)
    at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return [bool(new) for new in known[at] != asked]


def row_summaries(examined: Sequence[Examined], fresh: set[str], quality: Quality) -> pa.RecordBatch:
    """A `ROW_SUMMARY` for each examined row; `fresh` holds the hashes of documents that are not in the tables."""
    rows = [_summary(*each, fresh, quality) for each in examined]
    columns = zip(*rows, strict=True) if rows else [()] * len(ROW_SUMMARY)
    arrays = [pa.array(column, each.type) for column, each in zip(columns, ROW_SUMMARY, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=ROW_SUMMARY)


def _summary(
    location: SourceLocation, value: bytes | None, found: Document | Rejected, fresh: set[str], quality: Quality
) -> tuple[Any, ...]:
    if isinstance(found, Rejected):
        return (*location, found.reason.value, found.sentence, value, None, None, None, None, False)
    marks = marks_of(found.text, quality)
    is_fresh = found.document_hash in fresh
    return (*location, None, None, None, found.document_id, found.document_hash, *marks, is_fresh)
