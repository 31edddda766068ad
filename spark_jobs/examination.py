"""Reads raw rows on executors, and counts them: each row is a document or a rejection. Pages that could not be read are
rejections of their own. Part of the pass in `staging`.

In: raw rows, in batches. Out: a `ROW_SUMMARY` for each row, and one `Tally` per task, which the driver adds up. From it
the driver knows without another Spark job whether anything changed at all. An executor needs `mlflow_project.rules`,
numpy and orjson besides Spark's own Arrow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from mlflow_project.rules.chunking.files import checked_size, checked_text_format, file_document, read_file
from mlflow_project.rules.chunking.records import EMPTY_FILE, RETRACTED, Document, Fields, Rejected, read_line
from mlflow_project.rules.documents.kinds import TEXTUAL, Kind, kind_of
from mlflow_project.rules.documents.reading import BadPart, DocumentText
from mlflow_project.rules.quality.selection import Quality, judge, marks_of
from spark_jobs.document_reader import DocumentLimits, document_reader
from spark_jobs.rows import LOCATION, ROW_SUMMARY, Row, SourceLocation, batch_of

Fingerprints = NDArray[np.uint64]
"""Document hashes shortened to 64 bits, so that executors get 8 bytes per known document."""
Examined = tuple[SourceLocation, bytes | None, Document | Rejected]
"""A raw row after reading: its location, its bytes if it was rejected, and the document or the rejection."""

_MODULUS = 1 << 64
_CHECKED = [*LOCATION, "reason", "sentence", "raw", "document_hash"]


@dataclass(frozen=True)
class Examiner:
    """How to read rows: field names, whether a row is a whole file, the folder at which the ids of files begin, what to
    drop, what reading a document may cost, and the ids of documents that were retracted."""

    fields: Fields
    whole_files: bool
    base: str
    quality: Quality = field(default_factory=Quality)
    limits: DocumentLimits = field(default_factory=DocumentLimits)
    retracted: frozenset[str] = frozenset()

    def examine(self, row: Row) -> list[Examined]:
        """Read one row: the document or its rejection, then a rejection for each page that the document lacks.

        Keeps the bytes of a rejected row only, so that a batch is in memory once. A page is located by its number.
        """
        location, value = row
        found, bad = self._read(value, location[0])
        if isinstance(found, Document) and found.document_id in self.retracted:
            return [(location, b"", RETRACTED)]
        if isinstance(found, Document):
            found = judge(found, self.quality)
        if isinstance(found, Rejected):
            return [(location, value or b"", found)]
        file, block, _ = location
        return [
            (location, None, found),
            *[((file, block, part.number - 1), b"", Rejected(part.reason, part.sentence)) for part in bad],
        ]

    def _read(self, value: bytes | None, file: str) -> tuple[Document | Rejected, Sequence[BadPart]]:
        """Read the bytes of one row. None stands for a file without any row."""
        if value is None:
            return EMPTY_FILE, ()
        if not self.whole_files:
            return read_line(value, self.fields), ()
        kind = kind_of(value, file)
        wrong_size = checked_size(value)
        if kind is None or wrong_size:
            return wrong_size or read_file(value, file, self.base), ()
        if kind in TEXTUAL and (another_format := checked_text_format(value)):
            return another_format, ()
        found = document_reader(self.limits).read(kind, value)
        return (found, ()) if isinstance(found, Rejected) else (_document(found, kind, file, self.base), found.bad)


def _document(read: DocumentText, kind: Kind, file: str, base: str) -> Document | Rejected:
    metadata: dict[str, Any] = {**read.metadata, "format": kind}
    if read.pages:
        metadata["pages"] = [{"page": page.number, "start": page.start, "end": page.end} for page in read.pages]
    spelt = orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS).decode()
    found = file_document(read.title, read.text, file, base, spelt)
    return found._replace(has_pages=bool(read.pages)) if isinstance(found, Document) else found


def fingerprints(hashes: Sequence[str]) -> Fingerprints:
    """The fingerprints of these document hashes, sorted."""
    return np.sort(_shortened(hashes))


def new_among(hashes: Sequence[str], known: Fingerprints) -> list[bool]:
    """For each hash, whether no known document has its fingerprint."""
    if not len(known):
        return [True] * len(hashes)
    asked = _shortened(hashes)
    at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return [bool(new) for new in known[at] != asked]


def row_summaries(examined: Sequence[Examined], fresh: set[str], quality: Quality) -> pa.RecordBatch:
    """A `ROW_SUMMARY` for each examined row. `fresh` contains the hashes of documents that the tables lack."""
    return batch_of([_summary(*each, fresh, quality) for each in examined], ROW_SUMMARY)


def _summary(
    location: SourceLocation, value: bytes | None, found: Document | Rejected, fresh: set[str], quality: Quality
) -> tuple[Any, ...]:
    if isinstance(found, Rejected):
        return (*location, found.reason.value, found.sentence, value, None, None, None, None, False)
    marks = marks_of(found.text, quality)
    is_fresh = found.document_hash in fresh
    return (*location, None, None, None, found.document_id, found.document_hash, *marks, is_fresh)


@dataclass(frozen=True)
class Tally:
    """Counts and checksums of examined rows.

    `rejected` counts rows by reason. `accepted` rows may become documents; the tables lack `fresh` of them.
    `documents_sum` adds up the documents' fingerprints. `rows_sum` is a checksum over content and location of all rows.
    """

    rejected: dict[str, int] = field(default_factory=dict)
    accepted: int = 0
    fresh: int = 0
    documents_sum: int = 0
    rows_sum: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Add two tallies; the order does not matter."""
        return Tally(
            dict(Counter(self.rejected) + Counter(other.rejected)),
            self.accepted + other.accepted,
            self.fresh + other.fresh,
            (self.documents_sum + other.documents_sum) % _MODULUS,
            (self.rows_sum + other.rows_sum) % _MODULUS,
        )

    @property
    def read(self) -> int:
        """The number of all rows."""
        return self.accepted + sum(self.rejected.values())

    @property
    def rows(self) -> str:
        """A name of the input: equal for equal rows at equal locations."""
        return f"{self.read}/{self.rows_sum}"

    def is_exactly(self, known: Fingerprints) -> bool:
        """Whether the accepted rows are the known documents, each once. A document's hash covers its id, so in that
        case no document is new, changed, deleted, repeated or in conflict with another."""
        return self.accepted == len(known) and self.documents_sum == _total(known) and not self.fresh


def tally(rows: pa.RecordBatch) -> Tally:
    """Count a batch of row summaries."""
    rejected = {each["values"]: each["counts"] for each in rows["reason"].value_counts().to_pylist()}
    accepted = rejected.pop(None, 0)
    documents = _shortened(rows["document_hash"].drop_null().to_pylist())
    checksum = int.from_bytes(blake2b(rows.select(_CHECKED).serialize(), digest_size=8).digest())
    return Tally(rejected, accepted, rows["fresh"].true_count, _total(documents), checksum)


def short_ids(ids: Iterable[str]) -> bytes:
    """Eight bytes for each id, one after another."""
    return b"".join([blake2b(each.encode(), digest_size=8).digest() for each in ids])


def all_differ(short: Iterable[bytes]) -> bool:
    """Whether no id occurs twice in the results of `short_ids`. Compares 64-bit fingerprints, so two different ids can
    collide (about 3 in 10^8 for a million ids); then the answer is False."""
    every = np.frombuffer(b"".join(short), np.uint64)
    return len(np.unique(every)) == len(every)


def _shortened(hashes: Sequence[str]) -> Fingerprints:
    return np.array([int(each[:16], 16) for each in hashes], dtype=np.uint64)


def _total(fingerprints: Fingerprints) -> int:
    return int(fingerprints.sum(dtype=np.uint64)) % _MODULUS
