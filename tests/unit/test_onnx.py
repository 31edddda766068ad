"""ONNX models: described, loaded from sealed bytes, and answered as MLflow itself answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pandas
import pytest
from mlflow.models import infer_signature
from onnx import TensorProto, helper, numpy_helper

from mlflow_project.domain.model import Loading
from mlflow_project.domain.release import Manifest, ModelFile
from mlflow_project.errors import InvalidData, SealBroken
from mlflow_project.models.loading import Model, load_model
from mlflow_project.models.rows import InputReader
from mlflow_project.rules.canonical import digest
from mlflow_project.rules.mlmodel import describe

NAMES = ["amount", "hour", "velocity"]
FRAME = pandas.DataFrame(np.random.default_rng(3).normal(0, 1, (50, 3)), columns=NAMES)
HIDDEN = 400
"""Wide enough for weights that MLflow writes to a file beside the graph."""


def graph(*outputs: str) -> onnx.ModelProto:
    """A network with one hidden layer. Its outputs: `label`, `probabilities` and `score`."""
    random = np.random.default_rng(7)
    weights = {
        "first": random.normal(0, 1, (3, HIDDEN)).astype(np.float32),
        "second": random.normal(0, 0.1, (HIDDEN, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["X", "first"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["positive"]),
        helper.make_node("MatMul", ["positive", "second"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
        helper.make_node("ReduceMax", ["logits"], ["score"], keepdims=1, axes=[1]),
    ]
    types = {
        "label": (TensorProto.INT64, [None]),
        "probabilities": (TensorProto.FLOAT, [None, 2]),
        "score": (TensorProto.FLOAT, [None, 1]),
    }
    made = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info(name, *types[name]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def saved(folder: Path, *outputs: str) -> Manifest:
    """The manifest of a model that MLflow has written to a folder."""
    signature = infer_signature(FRAME, np.zeros((1, 1), dtype=np.float32))
    mlflow.onnx.save_model(graph(*outputs), folder, signature=signature, pip_requirements=["onnxruntime"])
    files = [
        ModelFile(str(path.relative_to(folder)), digest(path.read_bytes()), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    described = describe((folder / "MLmodel").read_bytes(), {"switchyard.task": "classifier"}, "net/1")
    return Manifest("model", "net", files=tuple(files), model=described)


def rows_of(model: Model, frame: pandas.DataFrame) -> Any:
    reader = InputReader(model.description.signature, 1_000)
    return reader.columns({name: frame[name].tolist() for name in frame})


def test_an_onnx_model_answers_as_mlflow_does_without_code_of_its_own(tmp_path: Path) -> None:
    manifest = saved(tmp_path / "net", "score")
    assert any(file.bytes > 4_000 and file.path not in ("model.onnx", "MLmodel") for file in manifest.files or ())
    model = load_model(tmp_path / "net", manifest, Loading())
    ours = model.predict(rows_of(model, FRAME))
    theirs = mlflow.pyfunc.load_model(str(tmp_path / "net")).predict(FRAME)
    assert list(ours.columns) == list(theirs.columns) == ["score"]
    assert np.array_equal(ours["score"], theirs["score"])


def test_its_labels_and_probabilities_are_those_of_its_outputs(tmp_path: Path) -> None:
    model = load_model(tmp_path / "net", saved(tmp_path / "net", "label", "probabilities"), Loading())
    rows = rows_of(model, FRAME)
    probabilities = model.probabilities(rows)
    assert probabilities.shape == (50, 2)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(50), abs=1e-5)
    assert np.array_equal(model.labels(rows), probabilities.argmax(axis=1))
    answer = model.predict(rows)
    assert answer["probabilities"][0] == pytest.approx(probabilities[0].tolist())


def test_a_model_without_probabilities_says_so(tmp_path: Path) -> None:
    model = load_model(tmp_path / "net", saved(tmp_path / "net", "score"), Loading())
    assert model.probabilities(rows_of(model, FRAME)) is None


def test_a_changed_file_of_weights_is_not_loaded(tmp_path: Path) -> None:
    manifest = saved(tmp_path / "net", "score")
    weights = max((tmp_path / "net").iterdir(), key=lambda path: path.stat().st_size)
    weights.write_bytes(b"\1" + weights.read_bytes()[1:])
    with pytest.raises(SealBroken):
        load_model(tmp_path / "net", manifest, Loading())


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\x08\x08\x12"])
def test_what_is_no_graph_is_refused_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    saved(tmp_path / "net", "score")
    (tmp_path / "net" / "model.onnx").write_bytes(data)
    files = [ModelFile("model.onnx", digest(data), len(data))]
    described = describe((tmp_path / "net" / "MLmodel").read_bytes(), {}, "net/1")
    for path in (tmp_path / "net").iterdir():
        if path.name != "model.onnx":
            path.unlink()
    with pytest.raises(InvalidData, match="The data of net cannot be loaded"):
        load_model(tmp_path / "net", Manifest("model", "net", files=tuple(files), model=described), Loading())
