"""A record on its way to Kafka, and the receipt when it has arrived."""

from __future__ import annotations

from typing import NamedTuple

from mlflow_project.errors import WorkspaceError

Headers = tuple[tuple[str, bytes], ...]


class Record(NamedTuple):
    """A record for Kafka. A `value` of None is a tombstone, which marks the key's document as deleted."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        return len(self.key or b"") + len(self.value or b"") + sum(len(n) + len(v) for n, v in self.headers)


class Receipt(NamedTuple):
    """Where a record is: at an offset of a partition, or (`spooled`) on this host's disk until Kafka is back."""

    partition: int | None = None
    offset: int | None = None
    spooled: bool = False


SPOOLED = Receipt(spooled=True)
Outcome = Receipt | WorkspaceError
"""What became of a record: where it is, or why it was not taken."""
