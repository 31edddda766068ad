"""The rows of a request that an event records: bounded, masked, and still good for statistics."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from mlflow_project.models.rows import Rows
from mlflow_project.models.sample import MOST_ROWS, RowSample
from mlflow_project.rules.masking import Masker


def safe(text: str) -> str | None:
    masked = Masker().record_safe(text, 64)
    return masked.text if masked is not None else None


def recorded(columns: dict[str, Any], predictions: Any, *, most: int = 10, texts: bool = True) -> dict[str, Any]:
    rows = Rows(len(predictions), {name: np.array(values) for name, values in columns.items()})
    text = RowSample.of(rows, np.array(predictions)).to_text(most, safe, texts=texts)
    assert text is not None
    found: dict[str, Any] = json.loads(text)
    return found


def test_values_are_kept_for_statistics_and_personal_ones_are_not() -> None:
    columns = {
        "amount": [1234.56789, np.nan, np.inf],
        "card": [4111111111111111, 7, 8],
        "note": np.array(["call anna@example.org", None, "x" * 500], dtype=object),
        "abroad": [True, False, True],
        "when": np.array(["2026-01-01"] * 3, dtype="datetime64[ns]"),
    }
    found = recorded(columns, [0, 1, 1])
    assert found["inputs"]["amount"] == [1234.57, None, None]
    assert found["inputs"]["card"] == [None, 7.0, 8.0]
    assert found["inputs"]["note"] == ["call [email]", None, "x" * 64]
    assert found["inputs"]["abroad"] == [True, False, True]
    assert "when" not in found["inputs"]
    assert found["predictions"] == {"prediction": [0.0, 1.0, 1.0]}
    without = recorded(columns, ["good", "bad", "bad"], texts=False)
    assert (without["inputs"]["note"], without["inputs"]["card"]) == ([None] * 3, [None, 7.0, 8.0])
    assert without["predictions"] == {"prediction": [None] * 3}


def test_a_large_request_leaves_a_few_rows_evenly_spread_and_nothing_of_its_memory() -> None:
    rows = Rows(100_000, {"a": np.arange(100_000.0)})
    sample = RowSample.of(rows, np.arange(100_000.0))
    assert sample.rows.count == MOST_ROWS
    assert sample.rows.columns is not None
    assert sample.rows.columns["a"].base is None
    assert sample.rows.columns["a"][[0, -1]].tolist() == [0.0, 99_999.0]
    assert sample.predictions.tolist() == sample.rows.columns["a"].tolist()
    wide = Rows(50, {f"c{number}": np.zeros(50) for number in range(600)})
    text = RowSample.of(wide, np.zeros((50, 40))).to_text(10, safe)
    assert text is not None
    assert len(text) < 10_000
    assert len(json.loads(text)["predictions"]) == 16


def test_a_tensor_is_recorded_by_position_and_no_rows_are_no_sample() -> None:
    sample = RowSample.of(Rows(2, tensor=np.arange(8.0).reshape(2, 2, 2)), np.zeros(2))
    text = sample.to_text(10, safe)
    assert text is not None
    assert json.loads(text)["inputs"]["input 3"] == [3.0, 7.0]
    assert sample.to_text(0, safe) is None
