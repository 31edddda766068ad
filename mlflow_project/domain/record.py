"""One entry of the ledger: who did what to which name, when, why, on what evidence.

A record's hash is the SHA-256 of its canonical JSON; `previous` is the hash of the record before it, so a changed,
missing or reordered record shows. `nonce` lets a writer recognise its own record after a lost response.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from mlflow_project.errors import InvalidData

RECORD_SCHEMA = "switchyard.ledger/v1"
GENESIS = "sha256:" + "0" * 64

RecordType = Literal[
    "seal",  # evidence holds the DSSE envelope
    "refusal",  # the gate said no; evidence holds the verdict
    "approval",  # a second person's word
    "intent",  # a flip is about to happen: the lock
    "flip",  # the outcome of an intent: completed, with receipts
    "rollback",  # the outcome of an intent to go back
    "aborted",  # an intent that was undone
    "observed_flip",  # an alias moved by hand, and followed
    "observed_violation",  # an alias moved by hand, and not followed
    "reconciled",  # such an alias put back
    "retraction",  # a release rests on text that was taken back; evidence names documents, table and index
    "replay",  # a version answered live questions; evidence names the champion, the questions and the outcome
    "shadow",  # a version begins to get copies of requests; evidence holds its limits
    "shadow_stop",  # it gets no more
    "rollout",  # opens a rollout; evidence holds its plan; `intent` of the five types below is its serial
    "step",  # evidence holds the share that the canary has from now on
    "hold",  # no step until
    "resume",
    "abort",  # the canary has no more traffic
    "finish",  # the canary was promoted
]


@dataclass(frozen=True)
class LedgerRecord:
    """`serial` counts from 1; `time` is UTC in ISO 8601 with milliseconds; `intent`: the serial an outcome answers."""

    serial: int
    previous: str
    nonce: str
    time: str
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
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the fields that are None."""
        return {"schema": RECORD_SCHEMA, **{key: value for key, value in asdict(self).items() if value is not None}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LedgerRecord:
        """Read a record.

        A type that this version of Switchyard does not know is read all the same: who replays it passes it over.

        Raises:
            InvalidData: not of this schema, or a field is missing, unknown, or of the wrong kind.
        """
        if not isinstance(data, Mapping):
            raise InvalidData(f"A ledger record is a JSON object; this one is a {type(data).__name__}.")
        if data.get("schema") != RECORD_SCHEMA:
            raise InvalidData(f"A ledger record says schema {RECORD_SCHEMA!r}; this one says {data.get('schema')!r}.")
        try:
            record = cls(**{key: value for key, value in data.items() if key != "schema"})
        except TypeError as error:
            raise InvalidData(f"Ledger record {data.get('serial')!r} cannot be read: {error}.") from error
        wrong = [key for key, is_right in _FIELDS.items() if not is_right(getattr(record, key))]
        if wrong:
            raise InvalidData(f"Ledger record {record.serial!r} cannot be read: wrong values in {', '.join(wrong)}.")
        return record


def seconds_of(time: str) -> float:
    """A record's time in seconds since the epoch.

    Raises:
        ValueError: not UTC in ISO 8601 with milliseconds, such as 2026-11-30T14:03:07.250Z.
    """
    if _TIME.fullmatch(time) is None:
        raise ValueError(time)
    return datetime.fromisoformat(time[:-1]).replace(tzinfo=UTC).timestamp()


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


def _is_time(value: Any) -> bool:
    try:
        seconds_of(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _is_count(value: Any) -> bool:
    """Whether this is a whole number from 1; True and False are none."""
    return type(value) is int and value >= 1


def _is_count_or_none(value: Any) -> bool:
    return value is None or _is_count(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "serial": _is_count,
    "time": _is_time,
    **dict.fromkeys(("previous", "nonce", "type", "kind", "name", "who", "why"), _is_text),
    **dict.fromkeys(("version", "from_version", "intent"), _is_count_or_none),
    **dict.fromkeys(("digest", "alias"), _is_text_or_none),
    "evidence": lambda value: isinstance(value, Mapping),
}
