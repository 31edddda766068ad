"""A few rows of a request for predictions, with their predictions, as one text for the event of that request.

In: the checked rows and what the model answered. Out: JSON, `{"inputs": {column: [value, …]}, "predictions": {…}}`. The
text is bounded: at most `MOST_ROWS` rows, `MOST_COLUMNS` columns and `MOST_VALUES` values. Numbers keep six significant
digits, which is enough for statistics and too little for the number of a card or an account. Times and bytes are left
out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from mlflow_project.models.rows import Rows

MOST_ROWS, MOST_COLUMNS, MOST_VALUES = 10, 300, 1_000
MOST_OUTPUTS = 16
_RECORDED_KINDS = "biufOU"
"""NumPy's kinds of booleans, numbers and texts."""

Safe = Callable[[str], str | None]
"""Masks and shortens a text; None: it may not be recorded."""


@dataclass(frozen=True, slots=True)
class RowSample:
    """Some rows of a request, evenly spread, and the predictions of these rows."""

    rows: Rows
    predictions: Any

    @classmethod
    def of(cls, rows: Rows, predictions: Any) -> RowSample:
        """Take a sample. It holds a copy, so that a large request leaves memory."""
        most = min(MOST_ROWS, max(1, MOST_VALUES // max(1, len(rows.columns or ()))))
        if rows.count <= most:
            return cls(rows, predictions)
        chosen = np.linspace(0, rows.count - 1, most).astype(np.intp)
        return cls(rows.chosen(chosen), np.asarray(predictions)[chosen])

    def to_text(self, most_rows: int, safe: Safe, *, texts: bool = True) -> str | None:
        """The sample as JSON. Returns None if it has no rows.

        Args:
            safe: masks the texts, and the digits of whole numbers.
            texts: whether texts are recorded at all.
        """
        count = min(self.rows.count, most_rows)
        if count == 0:
            return None
        inputs = self.rows.columns if self.rows.columns is not None else _split("input", self.rows.tensor)
        answer = np.asarray(self.predictions)
        outputs = {"prediction": answer} if answer.ndim == 1 else _split("prediction", answer, MOST_OUTPUTS)

        def recorded(columns: Mapping[str, Any]) -> dict[str, list[Any]]:
            return {
                name: [_value(value, safe, texts) for value in array[:count].tolist()]
                for name, array in list(columns.items())[:MOST_COLUMNS]
                if array.dtype.kind in _RECORDED_KINDS
            }

        return orjson.dumps({"inputs": recorded(inputs), "predictions": recorded(outputs)}).decode()


def _split(name: str, array: Any, most: int = MOST_COLUMNS) -> dict[str, Any]:
    """The columns of an array, its later axes laid out one after the other."""
    flat = array.reshape(len(array), -1)
    return {f"{name} {number}": flat[:, number] for number in range(min(flat.shape[1], most))}


def _value(value: Any, safe: Safe, texts: bool) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return float(f"{value:.6g}") if safe(str(value)) == str(value) else None
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return safe(value) if texts and isinstance(value, str) else None
