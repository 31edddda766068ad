"""Training by Spark MLlib: the model is one of scikit-learn, and the same rows give the same division of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from pyspark.sql import SparkSession

from mlflow_project.errors import InvalidData
from mlflow_project.training.data import write_rows
from mlflow_project.training.files import declaration_from
from mlflow_project.training.material import Material, in_memory
from mlflow_project.training.model_file import ModelFile
from spark_jobs.mllib_training import on_spark
from tests.spark.conftest import spark
from tests.unit.test_training import table

__all__ = ["spark"]


def declared(task: str = "classifier", label: str = "y", library: str | None = "spark", **changes: Any) -> ModelFile:
    candidates = {"straight": {"kind": "linear"}, "weak": {"kind": "linear", "regParam": 0.5, "maxIter": 50}}
    if library is None:
        candidates = {"straight": {"kind": "linear", "C": 1e6}}
    candidates = {name: {**one, "library": library} for name, one in candidates.items()}
    metric = "average_precision" if task == "classifier" else "rmse"
    data = {"task": task, "label": label, "features": ["a", "b", "c"], "metric": metric, "candidates": candidates}
    return declaration_from({**data, "folds": 2, "seed": 11, "threads": 1, **changes}, ModelFile, "model.yaml")


def material(spark: SparkSession, folder: Path, declaration: ModelFile) -> Material:
    write_rows(str(folder / "rows"), table(), {"from": "here"})
    return on_spark(spark, declaration, str(folder / "rows"))


def test_a_classifier_of_mllib_is_kept_as_one_of_scikit_learn_and_learnt_as_much(
    spark: SparkSession, tmp_path: Path
) -> None:
    made = material(spark, tmp_path, declared(test={"share": 0.25, "by": "time"}))
    tried: list[Any] = []
    trained = made.train(tried.append)
    local = in_memory(declared(library=None, test={"share": 0.25, "by": "time"}), str(tmp_path / "rows"))
    alike = local.train(lambda _: None)
    assert made.training_rows + len(made.test.labels) == 240
    assert abs(len(made.test.labels) - 60) <= 1
    assert made.data.recipe == {"from": "here"}
    assert [one.name for one in tried] == ["straight", "weak"]
    assert trained.best.name == "straight"
    assert trained.metrics["average_precision"] == pytest.approx(alike.metrics["average_precision"], abs=0.01)
    loaded = skops.io.loads(skops.io.dumps(trained.model), trusted=["numpy.dtype"])
    assert np.array_equal(loaded.predict_proba(made.test.rows), trained.probabilities)
    assert list(loaded.classes_) == [0, 1]


@pytest.mark.long
def test_classes_of_texts_and_numbers_are_learnt_too(spark: SparkSession, tmp_path: Path) -> None:
    words = material(spark, tmp_path, declared(label="word", metric="accuracy"))
    assert set(words.train(lambda _: None).predictions) == {"yes", "no"}
    numbers = declared("regressor", label="number")
    first, again = (material(spark, tmp_path, numbers) for _ in range(2))
    assert str(first.test_set) == str(again.test_set)
    assert first.train(lambda _: None).metrics["r2"] > 0.9


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": ["a", "word"]}, "Column word of"),
        ({"label": "nothing"}, "no column 'nothing', the label"),
        ({"label": "c", "features": ["a"]}, "rows of .* have no c"),
        ({"test": {"share": 0.000001}}, "would be held out"),
        ({"candidates": {"x": {"kind": "linear", "library": "spark", "depth": 3}}}, "no parameter depth"),
        ({"candidates": {"x": {"kind": "lightgbm", "library": "spark"}}}, "trains the kind linear only"),
        ({"candidates": {"x": {"kind": "linear", "library": "spark"}, "y": {"kind": "linear"}}}, "either all or none"),
        ({"search": {"trials": 2}}, "are not searched"),
    ],
)
def test_what_spark_cannot_train_is_said(spark: SparkSession, tmp_path: Path, changes: Any, said: str) -> None:
    with pytest.raises(InvalidData, match=said):
        material(spark, tmp_path, declared(**changes)).train(lambda _: None)
