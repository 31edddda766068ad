"""Rows of a request, checked against a signature: a mistake names column, row and expectation."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlflow_project.domain.model import Column, Parameter, Signature
from mlflow_project.errors import InvalidData
from mlflow_project.models.rows import InputReader, Rows, TooManyRows, joined

MIXED = Signature(
    (
        Column("amount", "double"),
        Column("items", "long"),
        Column("shop", "string"),
        Column("new", "boolean", required=False),
    ),
    parameters=(Parameter("threshold", "double", 0.5),),
)
TENSOR = Signature((Column("", "float64", shape=(-1, 2)),))
READER = InputReader(MIXED, 100)
NAMES = ["amount", "items", "shop", "new"]


def test_rows_become_arrays_of_the_types_that_the_signature_names() -> None:
    rows = READER.table(NAMES, [[1, 2, "a", True], [None, 3.0, None, None]])
    assert rows.columns is not None
    assert [array.dtype.kind for array in rows.columns.values()] == ["f", "i", "O", "O"]
    assert rows.columns["amount"][0] == 1.0
    assert math.isnan(rows.columns["amount"][1])
    assert list(rows.frame().columns) == NAMES


def test_extra_columns_are_left_out_and_the_order_is_the_signatures() -> None:
    rows = READER.records([{"shop": "a", "extra": 9, "items": 1, "amount": 0.5}])
    assert list(rows.frame().columns) == NAMES


def test_an_empty_frame_has_no_rows_and_must_still_name_its_columns() -> None:
    assert READER.table(NAMES, []).count == 0
    with pytest.raises(InvalidData, match="Missing columns: 'items'"):
        READER.table(["amount", "shop"], [])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: READER.table(NAMES, [[1.0, 1, "a", True], ["x", 1, "a", True]]), "Row 1, column 'amount': a number"),
        (lambda: READER.table(NAMES, [[True, 1, "a", True]]), "Row 0, column 'amount': .* not true or false"),
        (lambda: READER.table(NAMES, [[1.0, 1.5, "a", True]]), "Row 0, column 'items': a whole number"),
        (lambda: READER.table(NAMES, [[1.0, 2**63, "a", True]]), "Row 0, column 'items': a whole number"),
        (lambda: READER.table(NAMES, [[1.0, None, "a", True]]), "Row 0, column 'items': .* not null"),
        (lambda: READER.table(NAMES, [[1.0, math.inf, "a", True]]), "Row 0, column 'items'"),
        (lambda: READER.table(NAMES, [[10**400, 1, "a", True]]), "Column 'amount': a number is too large"),
        (lambda: READER.table(NAMES, [[1.0, 1, 5, True]]), "Row 0, column 'shop': a text or null"),
        (lambda: READER.table(NAMES, [[1.0, 1, "a", 1]]), "Row 0, column 'new': true or false"),
        (lambda: READER.table(NAMES, [[1.0, 1, "a"]]), "Row 0: a list of 4 values"),
        (lambda: READER.table(NAMES, [7]), "Row 0: a list of 4 values"),
        (lambda: READER.table(["amount", "amount"], [[1, 2]]), "each may stand once"),
        (lambda: READER.records([{"amount": 1.0, "items": 1}]), "Row 0: missing columns 'shop'"),
        (lambda: READER.records([[1]]), "Row 0: an object"),
        (lambda: READER.columns({"amount": [1.0], "items": [1, 2], "shop": ["a"]}), "same number of values"),
        (lambda: READER.parameters({"beta": 1}), "Unknown parameters: 'beta'. This model takes 'threshold'"),
        (lambda: READER.parameters({"threshold": "high"}), "'threshold' must be of type double"),
        (
            lambda: InputReader(TENSOR, 9).nested([[1.0, 2.0], [3.0]]),
            "Nested lists of float64 in the shape",
        ),
        (lambda: InputReader(TENSOR, 9).nested([[1.0, 2.0, 3.0]]), r"shape \[any, 2\] is expected, not \[1, 3\]"),
        (lambda: InputReader(TENSOR, 9).records([{"a": 1}]), "one tensor without named columns"),
    ],
)
def test_a_mistake_names_column_row_and_expectation(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(InvalidData, match=said):
        make()


def test_too_many_rows_are_refused_before_they_are_read() -> None:
    with pytest.raises(TooManyRows, match="holds 101 rows; at most 100"):
        READER.records([None] * 101)


def test_times_are_taken_in_utc() -> None:
    reader = InputReader(Signature((Column("at", "datetime"),)), 5)
    rows = reader.records([{"at": "2026-11-30T14:00:00+02:00"}, {"at": None}])
    assert rows.columns is not None
    assert list(rows.columns["at"].astype(str)) == ["2026-11-30T12:00:00.000000000", "NaT"]


def test_rows_of_several_requests_are_joined_in_order() -> None:
    rows = joined([READER.records([{"amount": n, "items": n, "shop": "a"}]) for n in range(3)])
    assert isinstance(rows, Rows)
    assert rows.count == 3
    assert np.array_equal(rows.frame()["items"], [0, 1, 2])
