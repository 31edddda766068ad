"""One record as bytes, and whether it fits the record before it. Pure."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from mlflow_project.domain.record import GENESIS, LedgerRecord, RecordType
from mlflow_project.errors import InvalidData
from mlflow_project.rules.canonical import canonical, digest

PREFIX = "records/"
UNREADABLE: Any = "unreadable"
"""The type of what stands for an object in a record's place that is none; it is never written."""
_KEY = re.compile(re.escape(PREFIX) + r"(\d{12})\.json")


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


def serial_of(key: str) -> int | None:
    """The serial in a key; None for what is no record's, which only `ledger verify` minds."""
    match = _KEY.fullmatch(key)
    return int(match.group(1)) if match is not None else None


def placed(draft: Draft, before: Link | None) -> tuple[Link, bytes]:
    """The record that follows `before` (None: the first), and its bytes. Times never run backwards along the chain."""
    now = utc_now()
    record = LedgerRecord(
        serial=1 if before is None else before.record.serial + 1,
        previous=GENESIS if before is None else before.digest,
        nonce=secrets.token_hex(16),
        time=now if before is None else max(now, before.record.time),
        **vars(draft),
    )
    data = canonical(record.to_dict())
    return Link(record, digest(data)), data


def read_link(data: bytes, before: Link | None) -> Link:
    """The record in these bytes, which must follow `before`.

    Raises:
        InvalidData: no record, or not the one that follows, or one from before it.
    """
    wanted = 1 if before is None else before.record.serial + 1
    record = read_record(data)
    previous = GENESIS if before is None else before.digest
    if record.serial != wanted:
        raise InvalidData(f"In the place of ledger record {wanted} lies number {record.serial!r}.")
    if record.previous != previous:
        raise InvalidData(
            f"Ledger record {wanted} does not follow record {wanted - 1}: it names {record.previous} as the digest of "
            f"the record before, which is {previous}."
        )
    if before is not None and record.time < before.record.time:
        raise InvalidData(
            f"Ledger record {wanted} says {record.time}, which is earlier than record {wanted - 1}: times never run "
            "backwards, so that nobody can date a seal to when its key was still valid."
        )
    return Link(record, digest(data))


def link_over(data: bytes, before: Link | None) -> Link:
    """The record in these bytes; where they are no record at all, a stand-in that says so and changes nothing.

    What somebody else has put in a record's place must not stop the ledger for ever (nobody can take it away again):
    the next record follows its bytes, and `ledger verify` names it. A record that does not follow the one before it is
    another matter: one of the two was tampered with, and nothing tells which.

    Raises:
        InvalidData: a record, but not the one that follows.
    """
    try:
        read_record(data)
    except InvalidData as error:
        serial, previous, time = (
            (1, GENESIS, "") if before is None else (before.record.serial + 1, before.digest, before.record.time)
        )
        record = LedgerRecord(serial, previous, "", time, UNREADABLE, "", "", "", why=str(error))
        return Link(record, digest(data))
    return read_link(data, before)


def read_record(data: bytes) -> LedgerRecord:
    """The record in these bytes, wherever it belongs.

    Raises:
        InvalidData: there is none in them.
    """
    try:
        return LedgerRecord.from_dict(orjson.loads(data))
    except ValueError as error:
        raise InvalidData(f"This is no ledger record, for it is not JSON: {error}.") from error


def utc_now() -> str:
    """Now, UTC in ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
