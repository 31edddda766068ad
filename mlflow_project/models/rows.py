"""Rows for a model: checked against its signature, and made into the frame or array that the model takes.

In: the values of each column, or a nested list for a tensor. Out: `Rows`. A mistake names the column, the row (from 0)
and what is expected; it never repeats a value, which may be personal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlflow_project.domain.model import Column, Parameter, Signature
from mlflow_project.errors import InvalidData
from mlflow_project.models.values import READERS

_NUMBER = frozenset({int, float})


@dataclass(frozen=True)
class Rows:
    """Checked rows. `columns` are arrays of equal length by name, or `tensor` is one array whose first axis counts the
    rows."""

    count: int
    columns: Mapping[str, Any] | None = None
    tensor: Any = None

    def frame(self) -> Any:
        """What the model takes: a pandas DataFrame, or a NumPy array.

        The columns of the frame lie apart in memory, as in the frames that MLflow makes: in another order a product of
        matrices may differ in its last bit.
        """
        if self.columns is None:
            return self.tensor
        import pandas

        return pandas.DataFrame(dict(self.columns), copy=False)

    def part(self, begin: int, end: int) -> Rows:
        """Some of the rows."""
        if self.columns is None:
            return Rows(end - begin, tensor=self.tensor[begin:end])
        return Rows(end - begin, {name: array[begin:end] for name, array in self.columns.items()})

    def chosen(self, numbers: Any) -> Rows:
        """A copy of the rows with these numbers, an array of whole numbers."""
        if self.columns is None:
            return Rows(len(numbers), tensor=self.tensor[numbers])
        return Rows(len(numbers), {name: array[numbers] for name, array in self.columns.items()})


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows of several requests as one."""
    count = sum(part.count for part in parts)
    if parts[0].columns is None:
        return Rows(count, tensor=np.concatenate([part.tensor for part in parts]))
    columns = {
        name: np.concatenate([part.columns[name] for part in parts if part.columns]) for name in parts[0].columns
    }
    return Rows(count, columns)


def check_supported(signature: Signature, label: str) -> None:
    """Raises:
    InvalidData: the signature has types that cannot be checked here, such as nested arrays and objects.
    """
    for column in signature.inputs:
        if column.shape is None and column.type not in READERS:
            raise InvalidData(
                f"{label} takes the column {column.name!r} of type {column.type}; supported are "
                f"{', '.join(sorted(READERS))}, and tensors."
            )
    tensors = [column for column in signature.inputs if column.shape is not None]
    if tensors and (len(signature.inputs) > 1 or np.dtype(tensors[0].type).kind not in "biuf"):
        raise InvalidData(
            f"{label} takes several tensors, or one that holds no numbers: only one of numbers is served."
        )


class InputReader:
    """Makes rows for one signature. `most_rows` is the most that one request may hold."""

    def __init__(self, signature: Signature, most_rows: int) -> None:
        self._inputs = signature.inputs
        self._parameters = {parameter.name: parameter for parameter in signature.parameters}
        self._most_rows = most_rows

    @property
    def parameter_names(self) -> frozenset[str]:
        """The parameters that a request may set."""
        return frozenset(self._parameters)

    @property
    def takes_tensor(self) -> bool:
        """Whether the model takes one array instead of columns."""
        return self._inputs[0].shape is not None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns in order; "0", "1", … where the signature has none."""
        return tuple(column.name or str(number) for number, column in enumerate(self._inputs))

    def columns(self, given: Mapping[str, Sequence[Any]]) -> Rows:
        """Rows from the values of each column. Columns that the signature does not name are left out.

        Raises:
            InvalidData: a column is missing or has another length, or a value is of another type.
        """
        self._check_has_columns()
        lengths = {len(values) for values in given.values()}
        if len(lengths) > 1:
            raise InvalidData(
                f"All columns must have the same number of values, not {min(lengths)} and {max(lengths)}."
            )
        count = lengths.pop() if lengths else 0
        self._check_count(count)
        missing = [
            name for name, column in zip(self.names, self._inputs, strict=True) if column.required and name not in given
        ]
        if missing:
            raise InvalidData(f"Missing columns: {_listed(missing)}. This model takes {_listed(self.names)}.")
        nothing: tuple[Any, ...] = (None,) * count
        return Rows(
            count,
            {
                name: READERS[column.type](given.get(name, nothing), name, column.required)
                for name, column in zip(self.names, self._inputs, strict=True)
            },
        )

    def table(self, names: Sequence[Any], rows: Sequence[Any]) -> Rows:
        """Rows from the names of columns and lists of values. Raises as `columns`."""
        width = len(names)
        if not all(isinstance(name, str) for name in names) or len(set(names)) != width:
            raise InvalidData("The names of the columns must be texts, and each may stand once.")
        self._check_count(len(rows))
        for number, row in enumerate(rows):
            if not isinstance(row, list) or len(row) != width:
                found = f"{len(row)} values" if isinstance(row, list) else "no list"
                raise InvalidData(
                    f"Row {number}: a list of {width} values is expected, one for each column, not {found}."
                )
        values = zip(*rows, strict=True) if rows else ((),) * width
        return self.columns(dict(zip(names, values, strict=True)))

    def records(self, rows: Sequence[Any]) -> Rows:
        """Rows from one object for each row. Raises as `columns`."""
        self._check_has_columns()
        self._check_count(len(rows))
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                raise InvalidData(f"Row {number}: an object with a value for each column is expected.")
        needed = [name for name, column in zip(self.names, self._inputs, strict=True) if column.required]
        for number, row in enumerate(rows):
            if missing := [name for name in needed if name not in row]:
                raise InvalidData(
                    f"Row {number}: missing columns {_listed(missing)}. This model takes {_listed(self.names)}."
                )
        return self.columns({name: [row.get(name) for row in rows] for name in self.names})

    def nested(self, values: Sequence[Any]) -> Rows:
        """Rows from nested lists: one for each row, in the order of the signature's columns. Raises as `columns`."""
        if not self.takes_tensor:
            return self.table(self.names, values)
        column = self._inputs[0]
        self._check_count(len(values))
        try:
            tensor = np.array(values, dtype=np.dtype(column.type)) if values else np.empty((0, *_rest(column)))
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidData(f"Nested lists of {column.type} in the shape {_shape(column)} are expected.") from error
        fits = len(tensor.shape) == len(column.shape or ()) and all(
            want in (-1, have) for want, have in zip(column.shape or (), tensor.shape, strict=True)
        )
        if not fits:
            raise InvalidData(f"A tensor of shape {_shape(column)} is expected, not {list(tensor.shape)}.")
        return Rows(len(values), tensor=tensor)

    def parameters(self, given: Any) -> dict[str, Any]:
        """The parameters of a request, without those that keep their default.

        Raises:
            InvalidData: one is unknown, or of another type.
        """
        if given is None:
            return {}
        if not isinstance(given, dict):
            raise InvalidData("`params` must be an object.")
        if unknown := sorted(given.keys() - self._parameters.keys()):
            known = _listed(sorted(self._parameters)) if self._parameters else "none"
            raise InvalidData(f"Unknown parameters: {_listed(unknown)}. This model takes {known}.")
        return {name: _parameter(self._parameters[name], value) for name, value in given.items()}

    def _check_has_columns(self) -> None:
        if self.takes_tensor:
            raise InvalidData("This model takes one tensor without named columns: send nested lists of numbers.")

    def _check_count(self, count: int) -> None:
        if count > self._most_rows:
            raise TooManyRows(f"The request holds {count:,} rows; at most {self._most_rows:,} are taken at once.")


class TooManyRows(InvalidData):
    """More rows than one request may hold."""

    http_status = 413


def _parameter(parameter: Parameter, value: Any) -> Any:
    types: Mapping[str, Any] = {
        "double": _NUMBER,
        "float": _NUMBER,
        "long": {int},
        "integer": {int},
        "boolean": {bool},
        "string": {str},
    }
    if type(value) not in types.get(parameter.type, ()):
        raise InvalidData(f"The parameter {parameter.name!r} must be of type {parameter.type}.")
    return value


def _rest(column: Column) -> tuple[int, ...]:
    return tuple(max(size, 0) for size in (column.shape or ())[1:])


def _shape(column: Column) -> str:
    return "[" + ", ".join("any" if size < 0 else str(size) for size in column.shape or ()) + "]"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:100]) for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown
