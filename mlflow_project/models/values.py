"""Reads the values of one column by the type that the signature gives it.

In: the values as JSON or CSV brought them, the column's name, and whether it is required. Out: an array. A mistake
names the row (from 0), the column and what is expected; it never repeats the value, which may be personal.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from mlflow_project.errors import InvalidData

_NONE = type(None)


def _numbers(dtype: Any) -> Callable[[Sequence[Any], str, bool], Any]:
    def read(values: Sequence[Any], name: str, required: bool) -> Any:
        if not {*map(type, values)} <= {int, float, _NONE}:
            raise _wrong(values, name, {int, float, _NONE}, "a number or null")
        try:
            return np.array([math.nan if value is None else value for value in values], dtype=dtype)
        except OverflowError as error:
            raise InvalidData(f"Column {name!r}: a number is too large for the type {np.dtype(dtype)}.") from error

    return read


def _whole_numbers(dtype: Any) -> Callable[[Sequence[Any], str, bool], Any]:
    bounds = np.iinfo(dtype)

    def read(values: Sequence[Any], name: str, required: bool) -> Any:
        expected = f"a whole number of the type {np.dtype(dtype)}"
        if not required and None in values:  # as MLflow: NumPy's whole numbers cannot be missing
            return _numbers(np.float64)(values, name, required)
        if not {*map(type, values)} <= {int, float}:
            raise _wrong(values, name, {int, float}, expected)
        for number, value in enumerate(values):
            if not bounds.min <= value <= bounds.max or (type(value) is float and not value.is_integer()):
                raise InvalidData(f"Row {number}, column {name!r}: {expected} is expected.")
        return np.array([int(value) for value in values], dtype=dtype)

    return read


def _booleans(values: Sequence[Any], name: str, required: bool) -> Any:
    if not required and {*map(type, values)} <= {bool, _NONE}:
        return np.array(values, dtype=object)
    if not {*map(type, values)} <= {bool}:
        raise _wrong(values, name, {bool}, "true or false")
    return np.array(values, dtype=bool)


def _texts(values: Sequence[Any], name: str, required: bool) -> Any:
    if not {*map(type, values)} <= {str, _NONE}:
        raise _wrong(values, name, {str, _NONE}, "a text or null")
    return np.array(values, dtype=object)


def _times(values: Sequence[Any], name: str, required: bool) -> Any:
    if not {*map(type, values)} <= {str, _NONE}:
        raise _wrong(values, name, {str, _NONE}, "a time in ISO 8601, or null")
    found = []
    for number, value in enumerate(values):
        try:
            moment = None if value is None else datetime.fromisoformat(value)
            if moment is not None and moment.tzinfo is not None:
                moment = moment.astimezone(UTC).replace(tzinfo=None)
            found.append(np.datetime64("NaT") if moment is None else np.datetime64(moment, "ns"))
        except (ValueError, OverflowError) as error:
            raise InvalidData(f"Row {number}, column {name!r}: a time in ISO 8601 is expected.") from error
    return np.array(found, dtype="datetime64[ns]")


def _bytes(values: Sequence[Any], name: str, required: bool) -> Any:
    if not {*map(type, values)} <= {str, _NONE}:
        raise _wrong(values, name, {str, _NONE}, "bytes in Base64, or null")
    found = np.empty(len(values), dtype=object)
    for number, value in enumerate(values):
        try:
            found[number] = None if value is None else base64.b64decode(value, validate=True)
        except ValueError as error:
            raise InvalidData(f"Row {number}, column {name!r}: bytes in Base64 are expected.") from error
    return found


def _wrong(values: Sequence[Any], name: str, allowed: set[type], expected: str) -> InvalidData:
    number = next(number for number, value in enumerate(values) if type(value) not in allowed)
    names = {str: "a text", bool: "true or false", int: "a number", float: "a number", _NONE: "null", list: "a list"}
    found = names.get(type(values[number]), "an object")
    return InvalidData(f"Row {number}, column {name!r}: {expected} is expected, not {found}.")


READERS: Mapping[str, Callable[[Sequence[Any], str, bool], Any]] = {
    "double": _numbers(np.float64),
    "float": _numbers(np.float32),
    "long": _whole_numbers(np.int64),
    "integer": _whole_numbers(np.int32),
    "boolean": _booleans,
    "string": _texts,
    "datetime": _times,
    "binary": _bytes,
}
"""For each of MLflow's column types, the function that reads it."""
