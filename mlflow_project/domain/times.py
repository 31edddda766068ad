"""Reads and writes times as text: UTC in ISO 8601, for example 2026-11-30T14:03:07.123Z."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mlflow_project.errors import InvalidData


def utc_text(moment: datetime, *, timespec: str = "milliseconds") -> str:
    """A time with an offset as text, to the millisecond or, with `timespec` "seconds", to the second."""
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def utc_now(ahead: float = 0.0) -> str:
    """The present time as text, by a clock that is `ahead` seconds ahead of this machine's."""
    return utc_text(datetime.now(UTC) + timedelta(seconds=ahead))


def read_time(text: str) -> datetime:
    """A time that a person wrote in ISO 8601; without an offset it is UTC.

    Raises:
        InvalidData: it is no time.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidData(f"Cannot read {text!r} as a time. Use ISO 8601, for example 2026-11-30T14:03:07Z.") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
