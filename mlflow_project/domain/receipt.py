"""What workers and hosts report about the releases that they serve.

A `Receipt` is a worker's report that it serves a release. A `Presence` is one host's record with a time to live: its
workers and their receipts. `promote` and `rollback` wait until every live worker's receipt names the new release.
Whoever may write to the coordination bucket can write a presence, so reading one checks every field against a bound.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeGuard

from mlflow_project.errors import InvalidData

RECEIPT_SCHEMA = "switchyard.receipt/v1"
PRESENCE_SCHEMA = "switchyard.presence/v1"

LONGEST_LIFE_SECONDS = 60.0
"""No presence is valid for longer than this after it was written."""
MOST_WORKERS = 1_000
MOST_RECEIPTS = 50_000
_LONGEST_TEXT = 500
_LARGEST_VERSION = 2**31 - 1
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{1,64}")


@dataclass(frozen=True)
class Receipt:
    """`state` is `warm` (ready, not yet served) or `serving`; `since` is UTC in ISO 8601 with milliseconds.

    `share` is set for the canary of a rollout: which share of the units this worker sends to it, 0 to 1.
    """

    worker: str
    kind: str
    name: str
    alias: str
    version: int
    digest: str
    state: str
    since: str
    share: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"schema": RECEIPT_SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Any) -> Receipt:
        """Read what `to_dict` wrote. Fields that this version does not know are passed over.

        Raises:
            InvalidData: a field is missing or out of its bounds.
        """
        if not isinstance(data, Mapping):
            raise InvalidData(f"A receipt is a JSON object; this one is {_short(data)}.")
        values: dict[str, Any] = {each.name: data.get(each.name) for each in fields(cls)}
        receipt = cls(**values)
        texts = (receipt.worker, receipt.kind, receipt.name, receipt.alias, receipt.digest, receipt.since)
        whole = isinstance(receipt.version, int) and not isinstance(receipt.version, bool)
        wrong = [_short(text) for text in texts if not _is_text(text)]
        wrong += [] if whole and 1 <= receipt.version <= _LARGEST_VERSION else [_short(receipt.version)]
        wrong += [] if receipt.share is None or _is_share(receipt.share) else [_short(receipt.share)]
        wrong += [] if receipt.state in ("warm", "serving") else [_short(receipt.state)]
        wrong += [] if wrong or _DIGEST.fullmatch(receipt.digest) else [_short(receipt.digest)]
        if wrong:
            raise InvalidData(f"A receipt has values that no worker writes: {', '.join(wrong)}.")
        return receipt


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
    def from_dict(cls, data: Any) -> Presence:
        """Read what `to_dict` wrote. Fields that this version does not know are passed over.

        Raises:
            InvalidData: not of this schema, or a field is missing or out of its bounds.
        """
        if not isinstance(data, Mapping) or data.get("schema") != PRESENCE_SCHEMA:
            raise InvalidData(f"A presence says schema {PRESENCE_SCHEMA!r}; this one is {_short(data)}.")
        host, expires, workers = data.get("host"), data.get("expires"), data.get("workers")
        if not isinstance(host, str) or not _HOST_NAME.fullmatch(host):
            raise InvalidData(f"{_short(host)} is no host name.")
        if isinstance(expires, bool) or not isinstance(expires, int | float) or not math.isfinite(expires):
            raise InvalidData(f"The presence of {host} expires at {_short(expires)}, which is no time.")
        if not _is_list(workers, MOST_WORKERS) or not all(_is_text(worker) for worker in workers):
            raise InvalidData(f"The presence of {host} names no list of at most {MOST_WORKERS:,} workers.")
        receipts = data.get("receipts")
        if not _is_list(receipts, MOST_RECEIPTS):
            raise InvalidData(f"The presence of {host} has no list of at most {MOST_RECEIPTS:,} receipts.")
        return cls(host, float(expires), tuple(workers), tuple(Receipt.from_dict(receipt) for receipt in receipts))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT and value.isprintable()


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_list(value: Any, most: int) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) <= most


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
