"""KServe's Open Inference Protocol, version 2: reads requests for predictions, writes answers and metadata.

https://github.com/kserve/open-inference-protocol. The data of a tensor is a JSON list, or lies as bytes behind the JSON
object (the extension `binary_tensor_data`, which Triton's client uses by default). Answers are JSON.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mlflow_project.domain.model import Column, ModelDescription
from mlflow_project.errors import InvalidData
from mlflow_project.models.requests import MOST_VALUES, Asked, MalformedRequest, json_object
from mlflow_project.models.rows import InputReader

EXTENSIONS = ("binary_tensor_data",)

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
_NUMPY_OF_V2 = {
    "BOOL": "?",
    **{f"{sign}INT{8 * size}": f"<{kind}{size}" for sign, kind in (("", "i"), ("U", "u")) for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
_V2_KNOWN = frozenset({*_NUMPY_OF_V2, "BYTES"})


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


def read_v2(body: bytes, reader: InputReader, json_bytes: int | None = None) -> Asked:
    """A request in KServe's protocol: one tensor for each column, or one tensor with a row for each row.

    Args:
        json_bytes: the length of the JSON object, if bytes of tensors follow it.

    Raises:
        MalformedRequest: it is not JSON, or not of the protocol's form.
        InvalidData: the rows do not fit the signature.
    """
    content = json_object(body if json_bytes is None else body[:json_bytes])
    inputs, own = content.get("inputs"), content.get("id")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(each, dict) for each in inputs):
        raise MalformedRequest("`inputs` must be a list of tensors, each with name, shape, datatype and data.")
    if own is not None and not isinstance(own, str):
        raise MalformedRequest("`id` must be a text.")
    behind = _Bytes(b"" if json_bytes is None else body[json_bytes:])
    tensors = {str(each.get("name")): _v2_tensor(each, behind) for each in inputs}
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


class _Bytes:
    """The bytes behind the JSON object: the data of the tensors in their order."""

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def take(self, name: str, datatype: str, size: Any) -> list[Any]:
        """The values of the next tensor, which has so many bytes."""
        if type(size) is not int or not 0 <= size <= len(self._left):
            raise MalformedRequest(f"The tensor {name!r} needs a binary_data_size within the body.")
        data, self._left = self._left[:size], self._left[size:]
        try:
            return _texts(data) if datatype == "BYTES" else np.frombuffer(data, _NUMPY_OF_V2[datatype]).tolist()
        except (ValueError, struct.error) as error:
            raise MalformedRequest(f"The bytes of the tensor {name!r} are no values of {datatype}.") from error


def _texts(data: memoryview) -> list[str]:
    """Texts, each behind its length in four bytes."""
    found, begin = [], 0
    while begin < len(data):
        (length,) = struct.unpack_from("<I", data, begin)
        begin += 4 + length
        if begin > len(data):
            raise ValueError("a text is cut off")
        found.append(bytes(data[begin - length : begin]).decode())
    return found


def _v2_tensor(given: Mapping[str, Any], behind: _Bytes) -> _Tensor:
    name, shape, data = str(given.get("name"))[:100], given.get("shape"), given.get("data")
    if not isinstance(shape, list) or not shape or not all(type(size) is int and size >= 0 for size in shape):
        raise MalformedRequest(f"The tensor {name!r} needs a shape, such as [2, 3].")
    if given.get("datatype") not in _V2_KNOWN:
        raise MalformedRequest(f"The tensor {name!r} needs a datatype: one of {', '.join(sorted(_V2_KNOWN))}.")
    parameters = given.get("parameters")
    if isinstance(parameters, dict) and "binary_data_size" in parameters:
        data = behind.take(name, given["datatype"], parameters["binary_data_size"])
    if not isinstance(data, list):
        raise MalformedRequest(f"The tensor {name!r} needs its data: a JSON list, or a parameter binary_data_size.")
    if len(data) > MOST_VALUES:
        raise MalformedRequest(f"The tensor {name!r} holds more than the {MOST_VALUES:,} values allowed here.")
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
