"""Bodies of MLflow's scoring protocol and of KServe's, read into rows, and answers written."""

import json
from typing import Any

import numpy as np
import pytest

from mlflow_project.domain.model import Column, ModelDescription, Parameter, Signature
from mlflow_project.errors import InvalidData
from mlflow_project.models.kserve import read_v2, v2_answer, v2_metadata
from mlflow_project.models.requests import (
    MalformedRequest,
    predictions,
    read_csv,
    read_json,
    to_json,
)
from mlflow_project.models.rows import InputReader

COLUMNS = (Column("amount", "double"), Column("items", "long"), Column("shop", "string"))
SIGNATURE = Signature(COLUMNS, (Column("", "int64", shape=(-1,)),), (Parameter("threshold", "double", 0.5),))
READER = InputReader(SIGNATURE, 1000)
TENSOR = InputReader(Signature((Column("", "float64", shape=(-1, 2)),)), 1000)
TYPES = {column.name: column.type for column in COLUMNS}
ROWS = [{"amount": 0.5, "items": 1, "shop": "a"}, {"amount": None, "items": 2, "shop": None}]
LISTS = [[0.5, 1, "a"], [None, 2, None]]
NAMES = ["amount", "items", "shop"]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": NAMES, "data": LISTS}},
        {"dataframe_split": {"index": [0, 1], "columns": NAMES, "data": LISTS}, "params": {}},
        {"dataframe_records": ROWS},
        {"instances": ROWS},
        {"instances": LISTS},
        {"inputs": ROWS},
        {"inputs": {"amount": [0.5, None], "items": [1, 2], "shop": ["a", None]}},
    ],
)
def test_every_layout_of_mlflow_is_the_same_rows(body: dict[str, Any]) -> None:
    asked = read_json(json.dumps(body).encode(), READER)
    assert asked.rows.frame()["items"].tolist() == [1, 2]
    assert asked.rows.frame()["shop"].tolist() == ["a", None]


def test_csv_is_the_same_rows() -> None:
    text = 'shop,amount,items,extra\r\n"a, b",0.1,1,x\r\n,,2,\r\n'
    frame = read_csv(text.encode("utf-8-sig"), READER, TYPES).rows.frame()
    assert frame["shop"].tolist() == ["a, b", None]
    assert frame["amount"][0] == 0.1
    assert np.isnan(frame["amount"][1])


@pytest.mark.parametrize("layout", ["inputs", "instances"])
def test_a_tensor_is_nested_lists(layout: str) -> None:
    assert read_json(json.dumps({layout: [[1, 2], [3, 4]]}).encode(), TENSOR).rows.tensor.shape == (2, 2)


def test_pythons_nan_and_infinity_are_taken_and_answered_as_null() -> None:
    body = b'{"dataframe_split": {"columns": ["amount", "items", "shop"], "data": [[NaN, 1, "a"], [Infinity, 1, "a"]]}}'
    amounts = read_json(body, READER).rows.frame()["amount"]
    assert np.isnan(amounts[0])
    assert np.isinf(amounts[1])
    assert to_json(predictions(np.array([np.nan, np.inf, 1.0]))) == b'{"predictions":[null,null,1.0]}'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"[1]", "must be a JSON object"),
        (b"{}", "exactly one of"),
        (b'{"instances": [], "inputs": []}', "exactly one of"),
        (b'{"instances": 5}', "`instances` must be a list"),
        (b'{"dataframe_split": [1]}', "with `columns` and `data`"),
        (b'{"dataframe_split": {"columns": 1, "data": []}}', "must be a list of names"),
        (b'{"instances": ' + b"[" * 100_000, "not JSON"),
        (b'{"instances": [NaN, ' + b"[" * 100_000, "not JSON"),
    ],
)
def test_a_body_of_another_form_is_a_bad_request(body: bytes, said: str) -> None:
    with pytest.raises(MalformedRequest, match=said):
        read_json(body, READER)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("amount,items,shop\n1,x,a\n", "Row 0, column 'items': the text cannot be read"),
        ("amount,items,shop\n1,2\n", "Row 0 of the CSV has 2 fields"),
        ("amount,amount\n1,2\n", "each once"),
        ('amount,items,shop\n1,2,"a\n', "not CSV"),
        ("amount,shop\n1,a\n", "Missing columns: 'items'"),
        ("", "must name the columns"),
    ],
)
def test_a_csv_that_does_not_fit_says_where(text: str, said: str) -> None:
    with pytest.raises(InvalidData, match=said):
        read_csv(text.encode(), READER, TYPES)


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def test_kserves_protocol_has_a_tensor_for_each_column_or_one_for_all() -> None:
    inputs = [
        tensor("amount", "FP64", [0.5, 2]),
        tensor("items", "INT64", [1, 2], [2, 1]),
        tensor("shop", "BYTES", ["a", "b"]),
    ]
    asked = read_v2(
        json.dumps({"id": "7", "inputs": inputs, "parameters": {"threshold": 0.1, "content_type": "pd"}}).encode(),
        READER,
    )
    assert asked.rows.frame().values.tolist() == [[0.5, 1, "a"], [2.0, 2, "b"]]
    assert asked.parameters == {"threshold": 0.1}
    one = json.dumps({"inputs": [tensor("input-0", "FP64", [1, 2, 3, 4], [2, 2])]}).encode()
    assert read_v2(one, TENSOR).rows.tensor.tolist() == [[1, 2], [3, 4]]
    assert v2_answer("fraud", 3, np.array([1, 0]), asked.id) == {
        "model_name": "fraud",
        "model_version": "3",
        "id": "7",
        "outputs": [{"name": "predict", "shape": [2], "datatype": "INT64", "data": [1, 0]}],
    }


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([], "must be a list of tensors"),
        ([tensor("amount", "FP64", [1.0], [2])], "has 1 values, and its shape asks for 2"),
        ([tensor("amount", "FLOAT", [1.0])], "needs a datatype"),
        ([{**tensor("amount", "FP64", [1.0]), "data": None}], "needs its data: a JSON list"),
        ([{**tensor("amount", "FP64", [1.0]), "shape": [-1]}], "needs a shape"),
        ([tensor("amount", "FP64", [1.0]), tensor("amount", "FP64", [1.0])], "a name of its own"),
        ([tensor("amount", "FP64", [1.0])], "Missing columns"),
        (
            [tensor("amount", "FP64", ["x"]), tensor("items", "INT64", [1]), tensor("shop", "BYTES", ["a"])],
            "Row 0, column 'amount'",
        ),
    ],
)
def test_kserves_protocol_says_what_is_wrong(inputs: list[Any], said: str) -> None:
    with pytest.raises(InvalidData, match=said):
        read_v2(json.dumps({"inputs": inputs}).encode(), READER)


def test_kserves_metadata_names_the_columns() -> None:
    described = ModelDescription("sklearn", "skops", "model.skops", "predict", SIGNATURE)
    found = v2_metadata("fraud", 3, described)
    assert found["inputs"][1] == {"name": "items", "datatype": "INT64", "shape": [-1]}
    assert found["outputs"] == [{"name": "output-0", "datatype": "INT64", "shape": [-1]}]
