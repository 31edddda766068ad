"""One record as bytes, and whether it fits the record before it. Pure."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Any

import orjson

from mlflow_project.domain.record import GENESIS, LedgerRecord, RecordType, seconds_of
from mlflow_project.domain.times import utc_now
from mlflow_project.errors import InvalidData
from mlflow_project.rules.canonical import canonical, digest

PREFIX = "records/"
UNREADABLE: Any = "unreadable"
"""The type of the stand-in for an object that is passed over: no record, or one with an impossible time. Never written.
"""
AHEAD_SECONDS = 300.0
"""How far a record's time may be ahead of the store's clock."""
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


def placed(draft: Draft, before: Link | None, now: str | None = None) -> tuple[Link, bytes]:
    """The record that follows `before` (None: the first), and its bytes. Times never run backwards along the chain."""
    now = now or utc_now()
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
        InvalidData: no record, or not the one that follows, or its time is earlier than that of the record before.
    """
    record = _following(read_record(data), before)
    if before is not None and record.time < before.record.time:
        raise InvalidData(_backwards(record, before))
    return Link(record, digest(data))


def link_over(data: bytes, before: Link | None, written: float | None = None, certain: bool = False) -> Link:
    """The record in these bytes; where they are no record of this chain, a stand-in.

    What somebody else has put in a record's place must not stop the ledger for ever (nobody can take it away again).
    So a stand-in changes nothing, has the time of the record before, and is named by `ledger verify`; the next record
    follows the object's bytes. A record that does not follow the one before it is passed over only where that one is
    certain: else one of the two was tampered with, and nothing tells which.

    Args:
        written: when the object was written, by the store's clock, in seconds since the epoch; None: not checked.
        certain: whether nobody can have changed the record before.

    Raises:
        InvalidData: a record, but not the one that follows, and the one before is not certain.
    """
    try:
        record = read_record(data)
    except InvalidData as error:
        return _stand_in(data, before, str(error))
    try:
        _following(record, before)
    except InvalidData as error:
        if not certain:
            raise
        return _stand_in(data, before, str(error))
    if before is not None and record.time < before.record.time:
        return _stand_in(data, before, _backwards(record, before))
    if written is not None and is_ahead(record, written):
        return _stand_in(data, before, f"Its time, {record.time}, is ahead of the store's clock.")
    return Link(record, digest(data))


def is_ahead(record: LedgerRecord, written: float) -> bool:
    """Whether a record's time lies minutes after the moment in which the store wrote it."""
    return seconds_of(record.time) > written + AHEAD_SECONDS


def _following(record: LedgerRecord, before: Link | None) -> LedgerRecord:
    wanted = 1 if before is None else before.record.serial + 1
    previous = GENESIS if before is None else before.digest
    if record.serial != wanted:
        raise InvalidData(f"In the place of ledger record {wanted} lies number {record.serial!r}.")
    if record.previous != previous:
        raise InvalidData(
            f"Ledger record {wanted} does not follow record {wanted - 1}: it names {record.previous} as the digest of "
            f"the record before, which is {previous}."
        )
    return record


def _backwards(record: LedgerRecord, before: Link) -> str:
    return (
        f"Ledger record {record.serial} says {record.time}, which is earlier than record {before.record.serial}: times "
        "never run backwards, so that nobody can date a seal to when its key was still valid."
    )


def _stand_in(data: bytes, before: Link | None, why: str) -> Link:
    serial, previous, time = (
        (1, GENESIS, "") if before is None else (before.record.serial + 1, before.digest, before.record.time)
    )
    return Link(LedgerRecord(serial, previous, "", time, UNREADABLE, "", "", "", why=why), digest(data))


def read_record(data: bytes) -> LedgerRecord:
    """The record in these bytes, wherever it belongs.

    Raises:
        InvalidData: there is none in them.
    """
    try:
        return LedgerRecord.from_dict(orjson.loads(data))
    except ValueError as error:
        raise InvalidData(f"This is no ledger record, for it is not JSON: {error}.") from error
