"""Writes times as text: UTC in ISO 8601, for example 2026-11-30T14:03:07.123Z."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def utc_text(moment: datetime, *, timespec: str = "milliseconds") -> str:
    """A time with an offset as text, to the millisecond or, with `timespec` "seconds", to the second."""
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def utc_now(ahead: float = 0.0) -> str:
    """The present time as text, by a clock that is `ahead` seconds ahead of this machine's."""
    return utc_text(datetime.now(UTC) + timedelta(seconds=ahead))
