"""One record as bytes, and whether it fits the record before it. Pure."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from mlflow_project.domain.record import GENESIS, LedgerRecord, RecordType
from mlflow_project.errors import InvalidData
from mlflow_project.rules.canonical import canonical, digest
from mlflow_project.rules.masking import Masker

PREFIX = "records/"
_MASKER = Masker()


@dataclass(frozen=True)
class Draft:
    """A record before it has a place: all but serial, previous, nonce and time."""

    type: RecordType
    kind: str
    name: str
    who: str
    why: str = ""
    version: int | None = None
    digest: str | None = None
    alias: str | None = None
    from_version: int | None = None
    intent: int | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """A record with the digest of its bytes, which the next record must name."""

    record: LedgerRecord
    digest: str


def key_of(serial: int) -> str:
    """Where a record lies in the ledger's bucket."""
    return f"{PREFIX}{serial:012d}.json"


def placed(draft: Draft, before: Link | None) -> tuple[Link, bytes]:
    """The record that follows `before` (None: the first), and its bytes. Times never run backwards along the chain; a
    reason, which a person typed, is masked, since nothing can be taken out of a ledger again."""
    now = utc_now()
    record = LedgerRecord(
        serial=1 if before is None else before.record.serial + 1,
        previous=GENESIS if before is None else before.digest,
        nonce=secrets.token_hex(16),
        time=now if before is None else max(now, before.record.time),
        **{**vars(draft), "why": _MASKER.mask(draft.why).text},
    )
    data = canonical(record.to_dict())
    return Link(record, digest(data)), data


def read_link(data: bytes, before: Link | None) -> Link:
    """The record in these bytes, which must follow `before`.

    Raises:
        InvalidData: no record, or not the one that follows.
    """
    wanted = 1 if before is None else before.record.serial + 1
    try:
        record = LedgerRecord.from_dict(orjson.loads(data))
    except (ValueError, AttributeError) as error:
        raise InvalidData(f"Ledger record {wanted} is not JSON: {error}.") from error
    previous = GENESIS if before is None else before.digest
    if record.serial != wanted:
        raise InvalidData(f"In the place of ledger record {wanted} lies number {record.serial!r}.")
    if record.previous != previous:
        raise InvalidData(
            f"Ledger record {wanted} does not follow record {wanted - 1}: it names {record.previous} as the digest of "
            f"the record before, which is {previous}."
        )
    return Link(record, digest(data))


def utc_now() -> str:
    """Now, UTC in ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
