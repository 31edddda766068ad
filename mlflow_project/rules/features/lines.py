"""Reads one event from its JSON text, strictly: a value of the wrong type is an error, never a silent null.

In: a line and the types of its fields. Out: typed values, or the reason and a sentence why the line is rejected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson

FieldType = Literal["number", "integer", "text", "boolean", "time"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LARGEST_INTEGER = 2**53
"""The largest whole number that a 64-bit float holds exactly; features are floats."""


class Rejected(Exception):
    """Why a line is no event: a `reason` for counting, and a `sentence` for people."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason, self.sentence = reason, sentence


def read_event(line: bytes | str, fields: Mapping[str, FieldType]) -> dict[str, Any]:
    """The fields of an event; a missing field and a null are None. Times are microseconds since 1970 in UTC.

    Raises:
        Rejected: the line is no JSON object, or a field has another type.
    """
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Rejected("not_json", f"The line is not JSON: {error}.") from error
    if not isinstance(data, dict):
        raise Rejected("not_an_object", f"The line is {type(data).__name__} in JSON, and must be an object.")
    return {name: None if data.get(name) is None else _typed(name, data[name], kind) for name, kind in fields.items()}


def microseconds(text: str) -> int:
    """An ISO 8601 time with its offset from UTC, in microseconds since 1970 in UTC.

    Raises:
        ValueError: it is none, or it names no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("it names no offset from UTC")
    return (moment - _EPOCH) // _MICROSECOND


def _typed(name: str, value: Any, kind: FieldType) -> Any:
    if kind == "time":
        try:
            return microseconds(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise Rejected(
                "wrong_type",
                f"{name} is {_shown(value)}, and must be a time with an offset from UTC, as in 2026-11-30T14:03:07Z.",
            ) from error
    if kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    if kind == "integer" and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_INTEGER:
        return float(value)
    if kind == "text" and isinstance(value, str):
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    raise Rejected("wrong_type", f"{name} is {_shown(value)}, and must be {_SPELT[kind]}.")


_SPELT = {
    "number": "a number",
    "integer": f"a whole number of at most {_LARGEST_INTEGER}",
    "text": "a text",
    "boolean": "true or false",
}


def _shown(value: Any) -> str:
    return orjson.dumps(value).decode()[:80]
