"""Reads requests for predictions, and writes the answers, in two protocols.

MLflow's scoring protocol: JSON with one of `dataframe_split`, `dataframe_records`, `inputs` and `instances`, besides
`params`; or CSV with a line of column names. KServe's Open Inference Protocol, version 2, in JSON. In: the bytes of a
body. Out: checked `Rows` and parameters, and the answer as JSON-ready data.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from mlflow_project.domain.model import Column, ModelDescription
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
    content = _json(body)
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


_V2_TYPES = {
    "double": "FP64",
    "float": "FP32",
    "long": "INT64",
    "integer": "INT32",
    "boolean": "BOOL",
    "string": "BYTES",
    "datetime": "BYTES",
    "binary": "BYTES",
}
_V2_OF_NUMPY = {"f8": "FP64", "f4": "FP32", "i8": "INT64", "i4": "INT32", "b1": "BOOL", "u1": "UINT8"}
_V2_KNOWN = frozenset(
    {"BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"}
)


def v2_metadata(name: str, version: int, model: ModelDescription) -> dict[str, Any]:
    """What KServe's protocol tells of a model."""
    return {
        "name": name,
        "versions": [str(version)],
        "platform": f"mlflow_{model.flavor}",
        "inputs": [_v2_column(column, f"input-{number}") for number, column in enumerate(model.signature.inputs)],
        "outputs": [_v2_column(column, f"output-{number}") for number, column in enumerate(model.signature.outputs)],
    }


def _v2_column(column: Column, otherwise: str) -> dict[str, Any]:
    if column.shape is not None:
        datatype = _V2_OF_NUMPY.get(np.dtype(column.type).str[1:], "BYTES")
        return {"name": column.name or otherwise, "datatype": datatype, "shape": list(column.shape)}
    return {"name": column.name or otherwise, "datatype": _V2_TYPES.get(column.type, "BYTES"), "shape": [-1]}


def read_v2(body: bytes, reader: InputReader) -> Asked:
    """A request in KServe's protocol: one tensor for each column, or one tensor with a row for each row.

    Raises:
        MalformedRequest: it is not JSON, or not of the protocol's form.
        InvalidData: the rows do not fit the signature.
    """
    content = _json(body)
    inputs, own = content.get("inputs"), content.get("id")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(each, dict) for each in inputs):
        raise MalformedRequest("`inputs` must be a list of tensors, each with name, shape, datatype and data.")
    if own is not None and not isinstance(own, str):
        raise MalformedRequest("`id` must be a text.")
    tensors = {str(each.get("name")): _v2_tensor(each) for each in inputs}
    if len(tensors) != len(inputs):
        raise MalformedRequest("Every tensor of `inputs` needs a name of its own.")
    given = content.get("parameters") or {}
    if not isinstance(given, dict):
        raise MalformedRequest("`parameters` must be an object.")
    known = {name: value for name, value in given.items() if name in reader.parameter_names}
    only = next(iter(tensors.values()))
    if len(tensors) == 1 and (reader.takes_tensor or (len(only.shape) == 2 and only.shape[1] > 1)):
        return Asked(reader.nested(only.rows()), reader.parameters(known), own)
    columns = {name: tensor.column(name) for name, tensor in tensors.items()}
    return Asked(reader.columns(columns), reader.parameters(known), own)


class _Tensor(NamedTuple):
    shape: tuple[int, ...]
    values: list[Any]

    def column(self, name: str) -> list[Any]:
        """One value for each row."""
        if len(self.shape) > 2 or (len(self.shape) == 2 and self.shape[1] != 1):
            raise InvalidData(f"The tensor {name!r} must hold one value for each row: shape [rows] or [rows, 1].")
        return self.values

    def rows(self) -> list[Any]:
        """Nested lists, one for each row."""
        found = self.values
        for size in reversed(self.shape[1:]):
            found = [found[begin : begin + size] for begin in range(0, len(found), size)] if size else []
        return found


def _v2_tensor(given: Mapping[str, Any]) -> _Tensor:
    name, shape, data = str(given.get("name"))[:100], given.get("shape"), given.get("data")
    if not isinstance(shape, list) or not shape or not all(type(size) is int and size >= 0 for size in shape):
        raise MalformedRequest(f"The tensor {name!r} needs a shape, such as [2, 3].")
    if given.get("datatype") not in _V2_KNOWN:
        raise MalformedRequest(f"The tensor {name!r} needs a datatype: one of {', '.join(sorted(_V2_KNOWN))}.")
    if not isinstance(data, list):
        raise MalformedRequest(f"The tensor {name!r} needs its data as a JSON list; binary data is not supported.")
    values = _flat(data, len(shape))
    size = 1
    for each in shape:
        size *= each
    if len(values) != size:
        raise MalformedRequest(f"The tensor {name!r} has {len(values)} values, and its shape asks for {size}.")
    return _Tensor(tuple(shape), values)


def _flat(data: list[Any], levels: int) -> list[Any]:
    for _ in range(levels - 1):
        if not data or not isinstance(data[0], list) or not all(isinstance(each, list) for each in data):
            break
        data = [value for each in data for value in each]
    return data


def v2_answer(name: str, version: int, answer: Any, own_id: str | None) -> dict[str, Any]:
    """The answer in KServe's protocol."""
    array = np.asarray(answer)
    datatype = _V2_OF_NUMPY.get(array.dtype.str[1:], "BYTES")
    values = array.reshape(-1).tolist()
    output = {
        "name": "predict",
        "shape": list(array.shape),
        "datatype": datatype,
        "data": [str(value) for value in values] if datatype == "BYTES" else values,
    }
    named = {} if own_id is None else {"id": own_id}
    return {"model_name": name, "model_version": str(version), **named, "outputs": [output]}


def _json(body: bytes) -> dict[str, Any]:
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
