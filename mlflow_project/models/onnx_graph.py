"""Runs an ONNX graph as MLflow's `pyfunc` does: `OnnxGraph(data, others).predict(frame)`.

An ONNX file describes a graph of operators that are part of onnxruntime. It brings no code: session options and
libraries of operators that the logged model names are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlflow_project.errors import InvalidData

_NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
_WHOLE_OR_TEXT = ("tensor(int32)", "tensor(int64)", "tensor(string)")


class OnnxGraph:
    """A loaded graph, with the methods that `Model` asks of an estimator. Runs in the thread that calls it."""

    def __init__(self, data: bytes, others: Mapping[str, bytes]) -> None:
        """
        Args:
            data: the file `model.onnx`.
            others: weights that the graph keeps outside it, by the name of their file.

        Raises:
            InvalidData: an input is of a type that cannot be served.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        if others:
            options.add_external_initializers_from_files_in_memory(
                list(others), list(others.values()), [len(each) for each in others.values()]
            )
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._inputs, self._outputs = self._session.get_inputs(), self._session.get_outputs()
        for each in self._inputs:
            if each.type not in _NUMPY_TYPES:
                raise InvalidData(f"The ONNX graph takes {each.name!r} as {each.type}, which cannot be served.")

    def predict(self, rows: Any) -> Any:
        """The outputs for a pandas DataFrame, as a DataFrame with a column for each output.

        An output with several numbers for each row becomes a column of lists. For a NumPy array: the first output.
        """
        if isinstance(rows, np.ndarray):
            return self._run(rows)[0]
        import pandas

        outputs = zip(self._outputs, self._run(rows), strict=True)
        return pandas.DataFrame({output.name: _column(values) for output, values in outputs})

    def labels(self, rows: Any) -> Any:
        """The first output that is a whole number or a text; the likeliest class where there is none; else the first
        output.
        """
        outputs = self._run(rows)
        for output, values in zip(self._outputs, outputs, strict=True):
            if output.type in _WHOLE_OR_TEXT:
                return np.asarray(values).reshape(-1)
        first = np.asarray(outputs[0])
        return first.argmax(axis=1) if first.ndim == 2 and first.shape[1] > 1 else first.reshape(-1)

    def probabilities(self, rows: Any) -> Any | None:
        """The first output with several numbers for each row, or with a number for each class; None without one."""
        for values in self._run(rows):
            if isinstance(values, list) and values and isinstance(values[0], dict):
                return np.array([list(each.values()) for each in values])
            array = np.asarray(values)
            if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind == "f":
                return array
        return None

    def _run(self, rows: Any) -> list[Any]:
        given: dict[str, Any] = {
            each.name: np.asarray(values).astype(_NUMPY_TYPES[each.type], copy=False)
            for each, values in zip(self._inputs, self._values(rows), strict=True)
        }
        answers: list[Any] = self._session.run(None, given)
        return answers

    def _values(self, rows: Any) -> list[Any]:
        """What each input takes: all columns together where there is one input, else the column of its name."""
        if len(self._inputs) == 1:
            return [rows if isinstance(rows, np.ndarray) else rows.to_numpy()]
        if isinstance(rows, np.ndarray):
            raise InvalidData(f"The ONNX graph takes {len(self._inputs)} inputs, and its signature names one tensor.")
        columns = [rows[each.name].to_numpy() for each in self._inputs]
        return [
            column.reshape(-1, 1) if len(each.shape) == 2 else column
            for each, column in zip(self._inputs, columns, strict=True)
        ]


def _column(values: Any) -> Any:
    array = np.asarray(values)
    return array.tolist() if array.ndim == 2 and array.shape[1] > 1 else array.reshape(-1)
