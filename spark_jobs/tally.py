"""What the pass counts on its way: rows by what became of them. Tasks tell it, the driver adds it up, and so knows
without another job whether there is any change at all, and of a first run whether each id stands there once.

In: examined rows, some at a time. Out: a `Tally`, and ids in short.
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

_SUMS = 1 << 64
_SAID = ["file", "block", "line", "reason", "sentence", "raw", "document_hash"]


@dataclass(frozen=True)
class Tally:
    """Rows by what became of them: `rejected` by reason, and those that may be documents: how many, how many of them
    fresh, and the sum of their fingerprints. `places`: a sum over what all rows say, and where."""

    rejected: dict[str, int] = field(default_factory=dict)
    accepted: int = 0
    fresh: int = 0
    sum: int = 0
    places: int = 0

    def __add__(self, other: Tally) -> Tally:
        """In any order."""
        return Tally(
            dict(Counter(self.rejected) + Counter(other.rejected)),
            self.accepted + other.accepted,
            self.fresh + other.fresh,
            (self.sum + other.sum) % _SUMS,
            (self.places + other.places) % _SUMS,
        )

    @property
    def read(self) -> int:
        """All rows."""
        return self.accepted + sum(self.rejected.values())

    @property
    def rows(self) -> str:
        """The same for the same rows at the same places."""
        return f"{self.read}/{self.places}"

    def is_exactly(self, known: NDArray[np.uint64]) -> bool:
        """Whether the accepted rows are the known documents, each once. A hash covers the id, so then none is new,
        changed, deleted, repeated or in conflict with another."""
        return self.accepted == len(known) and self.sum == _total(known) and not self.fresh


def tally(rows: pa.RecordBatch) -> Tally:
    """Count examined rows."""
    found = {each["values"]: each["counts"] for each in rows["reason"].value_counts().to_pylist()}
    accepted = found.pop(None, 0)
    known_by = fingerprints(rows["document_hash"].drop_null().to_pylist())
    said = blake2b(rows.select(_SAID).serialize(), digest_size=8).digest()
    fresh = rows["fresh"].true_count
    return Tally(found, accepted, fresh, _total(known_by), int.from_bytes(said) % _SUMS)


def short_ids(ids: Iterable[str]) -> bytes:
    """Eight bytes an id."""
    return b"".join([blake2b(each.encode(), digest_size=8).digest() for each in ids])


def all_differ(ids: Iterable[bytes]) -> bool:
    """Whether no id stands twice in what `short_ids` made of them. Two that look alike in short are rare, and said to
    be the same."""
    every = np.frombuffer(b"".join(ids), np.uint64)
    return len(np.unique(every)) == len(every)


def _total(hashes: NDArray[np.uint64]) -> int:
    return int(hashes.sum(dtype=np.uint64)) % _SUMS
