"""What the pass counts on its way: how many rows became what, and checksums over documents and rows.

In: summaries of examined rows, in batches. Out: a `Tally` per task, which the driver adds up. From it the driver knows
without another Spark job whether anything changed at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_jobs.examination import fingerprints
from spark_jobs.rows import LOCATION

_MODULUS = 1 << 64
_CHECKED = [*LOCATION, "reason", "sentence", "raw", "document_hash"]


@dataclass(frozen=True)
class Tally:
    """Counts and checksums of examined rows.

    `rejected` counts rows by reason. `accepted` rows may become documents; `fresh` of them are not in the tables yet;
    `documents_sum` adds up their fingerprints. `rows_sum` is a checksum over the content and location of all rows.
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
        """Names the input: equal for equal rows at equal locations."""
        return f"{self.read}/{self.rows_sum}"

    def is_exactly(self, known: NDArray[np.uint64]) -> bool:
        """Whether the accepted rows are the known documents, each once. A hash covers the id, so in that case no
        document is new, changed, deleted, repeated or in conflict with another."""
        return self.accepted == len(known) and self.documents_sum == _total(known) and not self.fresh


def tally(rows: pa.RecordBatch) -> Tally:
    """Count a batch of row summaries."""
    rejected = {each["values"]: each["counts"] for each in rows["reason"].value_counts().to_pylist()}
    accepted = rejected.pop(None, 0)
    documents = fingerprints(rows["document_hash"].drop_null().to_pylist())
    checksum = int.from_bytes(blake2b(rows.select(_CHECKED).serialize(), digest_size=8).digest())
    return Tally(rejected, accepted, rows["fresh"].true_count, _total(documents), checksum)


def short_ids(ids: Iterable[str]) -> bytes:
    """Eight bytes per id, one after another."""
    return b"".join([blake2b(each.encode(), digest_size=8).digest() for each in ids])


def all_differ(short: Iterable[bytes]) -> bool:
    """Whether no id occurs twice in the results of `short_ids`. Compares 64-bit fingerprints, so two different ids can
    collide (about 3 in 10^8 for a million ids); then the answer is False."""
    every = np.frombuffer(b"".join(short), np.uint64)
    return len(np.unique(every)) == len(every)


def _total(hashes: NDArray[np.uint64]) -> int:
    return int(hashes.sum(dtype=np.uint64)) % _MODULUS
