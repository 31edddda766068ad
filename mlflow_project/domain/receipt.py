"""What a worker and its host say about what they serve.

A `Receipt` is a worker's word that it now serves a release. A `Presence` is one host's record with a time to live: its
workers and their receipts. `promote` and `rollback` wait until every live worker's receipt names the new release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

RECEIPT_SCHEMA = "switchyard.receipt/v1"
PRESENCE_SCHEMA = "switchyard.presence/v1"


@dataclass(frozen=True)
class Receipt:
    """`state` is `warm` (ready, not yet served) or `serving`; `since` is UTC in ISO 8601 with milliseconds."""

    worker: str
    kind: str
    name: str
    alias: str
    version: int
    digest: str
    state: str
    since: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"schema": RECEIPT_SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Receipt:
        """Read what `to_dict` wrote."""
        return cls(**{key: value for key, value in data.items() if key != "schema"})


@dataclass(frozen=True)
class Presence:
    """One host, valid until `expires` (seconds since the epoch, by the clock of the host that wrote it)."""

    host: str
    expires: float
    workers: tuple[str, ...]
    receipts: tuple[Receipt, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "schema": PRESENCE_SCHEMA,
            "host": self.host,
            "expires": self.expires,
            "workers": list(self.workers),
            "receipts": [receipt.to_dict() for receipt in self.receipts],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Presence:
        """Read what `to_dict` wrote."""
        receipts = tuple(Receipt.from_dict(receipt) for receipt in data["receipts"])
        return cls(data["host"], data["expires"], tuple(data["workers"]), receipts)
