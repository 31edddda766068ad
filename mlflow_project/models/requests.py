"""Reads requests for predictions in MLflow's scoring protocol, and writes the answers.

JSON with one of `dataframe_split`, `dataframe_records`, `inputs` and `instances`, besides `params`; or CSV with a line
of column names. In: the bytes of a body. Out: checked `Rows` and parameters, and the answer as JSON-ready data.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from mlflow_project.domain.model import ModelDescription
from mlflow_project.errors import InvalidData
from mlflow_project.models.rows import InputReader, Rows

MOST_VALUES = 5_000_000
"""Values of a JSON body; they are counted before anything parses it."""

_LAYOUTS = ("dataframe_split", "dataframe_records", "inputs", "instances")


class MalformedRequest(InvalidData):
    """A body that does not have the form of its protocol."""

    http_status = 400


class Asked(NamedTuple):
    """What a request asks for. `id` is the caller's own, in KServe's protocol."""

    rows: Rows
    parameters: dict[str, Any]
    id: str | None = None


def read_json(body: bytes, reader: InputReader) -> Asked:
    """A JSON body of MLflow's scoring protocol.

    Raises:
        MalformedRequest: it is not JSON, or has not exactly one of the four layouts.
        InvalidData: the rows or the parameters do not fit the signature.
    """
    content = json_object(body)
    given = [layout for layout in _LAYOUTS if layout in content]
    if len(given) != 1:
        raise MalformedRequest(f"The body must be a JSON object with exactly one of {', '.join(_LAYOUTS)}.")
    layout, value = given[0], content[given[0]]
    return Asked(_read_layout(layout, value, reader), reader.parameters(content.get("params")))


def _read_layout(layout: str, value: Any, reader: InputReader) -> Rows:
    if layout == "dataframe_split":
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            raise MalformedRequest("`dataframe_split` must be an object with `columns` and `data`.")
        names = value.get("columns", list(reader.names))
        if not isinstance(names, list):
            raise MalformedRequest("`dataframe_split.columns` must be a list of names.")
        return reader.nested(value["data"]) if reader.takes_tensor else reader.table(names, value["data"])
    if layout == "inputs" and isinstance(value, dict):
        return reader.columns({name: each if isinstance(each, list) else [each] for name, each in value.items()})
    if not isinstance(value, list):
        raise MalformedRequest(f"`{layout}` must be a list with one element for each row.")
    if layout == "dataframe_records" or (value and isinstance(value[0], dict)):
        return reader.records(value)
    if not reader.takes_tensor and value and not isinstance(value[0], list) and len(reader.names) == 1:
        return reader.columns({reader.names[0]: value})
    return reader.nested(value)


def read_csv(body: bytes, reader: InputReader, types: Mapping[str, str]) -> Asked:
    """A CSV body: a line of column names, then the rows. An empty field is a missing value.

    Args:
        types: the types of the signature's columns.

    Raises:
        MalformedRequest: it is not UTF-8 or not CSV. InvalidData: the rows do not fit the signature.
    """
    try:
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        names = next(lines, [])
        rows = [row for row in lines if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedRequest(f"The body is not CSV in UTF-8: {error}.") from error
    if not names or len(set(names)) != len(names):
        raise MalformedRequest("The first line of the CSV must name the columns, each once.")
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise MalformedRequest(f"Row {number} of the CSV has {len(row)} fields, and its first line {len(names)}.")
    columns = {}
    for position, name in enumerate(names):
        if name in types:
            convert = _FROM_TEXT.get(types[name], _text)
            fields = (row[position] for row in rows)
            columns[name] = [_field(text, convert, number, name, types[name]) for number, text in enumerate(fields)]
    return Asked(reader.columns(columns), {})


def _field(text: str, convert: Callable[[str], Any], number: int, name: str, kind: str) -> Any:
    if text == "":
        return None
    try:
        return convert(text)
    except (ValueError, OverflowError) as error:
        raise InvalidData(
            f"Row {number}, column {name!r}: the text cannot be read as a value of this column."
        ) from error


def _text(text: str) -> str:
    return text


def _whole(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _boolean(text: str) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    if text.strip().lower() not in known:
        raise ValueError(text)
    return known[text.strip().lower()]


_FROM_TEXT: Mapping[str, Callable[[str], Any]] = {
    "double": float,
    "float": float,
    "long": _whole,
    "integer": _whole,
    "boolean": _boolean,
}


def predictions(answer: Any) -> dict[str, Any]:
    """The answer in MLflow's scoring protocol. NaN and infinities become null, since JSON has no words for them."""
    return {"predictions": _listed(answer)}


def _listed(answer: Any) -> Any:
    if hasattr(answer, "to_dict"):  # a pandas DataFrame or Series
        return answer.to_dict(orient="records") if hasattr(answer, "columns") else answer.tolist()
    return np.asarray(answer).tolist()


def to_json(value: Any) -> bytes:
    """JSON-ready data as bytes."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def json_object(body: bytes) -> dict[str, Any]:
    """A JSON object, whose values are counted before anything parses it.

    Raises:
        MalformedRequest: it is none, or holds more than `MOST_VALUES` values.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_VALUES:
        raise MalformedRequest(f"The body holds more than the {MOST_VALUES:,} values allowed here.")
    try:
        content = orjson.loads(body)
    except ValueError as error:
        content = _with_nan(body, error)
    if not isinstance(content, dict):
        raise MalformedRequest("The body must be a JSON object.")
    return content


def _with_nan(body: bytes, error: ValueError) -> Any:
    """Python's own clients write NaN and Infinity, which JSON does not know."""
    try:
        if b"NaN" in body or b"Infinity" in body:
            return json.loads(body)
    except (ValueError, RecursionError):
        pass
    raise MalformedRequest(f"The body is not JSON: {str(error)[:200]}.") from error


def types_of(names: Sequence[str], model: ModelDescription) -> dict[str, str]:
    """The types of a signature's columns by their names."""
    return {name: column.type for name, column in zip(names, model.signature.inputs, strict=True)}
