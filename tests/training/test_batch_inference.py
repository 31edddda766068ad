"""The batch job: predictions of one sealed release, each row exactly once, whatever is run again or cut short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas
import pyarrow
import pytest
from deltalake import write_deltalake
from mlflow.models import infer_signature
from pyspark.sql import SparkSession
from sklearn.linear_model import LogisticRegression

from mlflow_project.domain.reference import reference
from mlflow_project.errors import InvalidData, NotFound, Refused
from spark_jobs import batch_inference, tables
from spark_jobs.batch_inference import predict_new
from spark_jobs.new_rows import Batch
from spark_jobs.sealed_releases import SealedModel, sealed_model, sealed_release
from tests.models.conftest import FEATURES, Models, mlflow_client, models, test_table, transactions
from tests.spark.conftest import spark

__all__ = ["mlflow_client", "models", "spark", "test_table"]


def write(path: Path, frame: pandas.DataFrame, mode: str = "append") -> str:
    write_deltalake(str(path), pyarrow.Table.from_pandas(frame, preserve_index=False), mode=mode)  # type: ignore[call-overload]
    return str(path)


def rows(count: int, seed: int, first: int = 0) -> pandas.DataFrame:
    return transactions(count, seed).assign(id=[f"r{first + number}" for number in range(count)])


def resolve(models: Models, named: Any) -> SealedModel:
    return sealed_model(models.parts, *sealed_release(models.parts, named))


def held(spark: SparkSession, table: str) -> list[Any]:
    return sorted(tables.read(spark, table).collect(), key=lambda row: (row["release"], row["row_key"]))


def test_each_row_is_predicted_once_by_the_release_that_the_alias_named(
    spark: SparkSession, models: Models, tmp_path: Path
) -> None:
    first, second = models.register(), models.register(seed=5)
    models.seal(first)
    models.promote(first)
    table, output = write(tmp_path / "in", rows(50, 1)), str(tmp_path / "out")
    sealed = resolve(models, reference(f"{models.name}@Production"))
    done = predict_new(spark, Batch(table, 0, output, "id", rows_at_once=20), sealed)
    assert (done["release"], done["new_rows"], done["predicted"]) == (f"{models.name}/{first}", 50, 50)
    write(tmp_path / "in", rows(7, 2, first=50))
    again = predict_new(spark, Batch(table, 1, output, "id"), sealed)
    assert (again["new_rows"], again["predicted"]) == (7, 7)
    assert predict_new(spark, Batch(table, 1, output, "id"), sealed)["new_rows"] == 0

    models.seal(second)
    newer = resolve(models, reference(f"{models.name}/{second}"))
    assert predict_new(spark, Batch(table, 1, output, "id"), newer)["predicted"] == 57
    found = held(spark, output)
    assert len({(row["row_key"], row["release_digest"]) for row in found}) == len(found) == 114
    assert {row["release_digest"] for row in found} == {sealed.release.digest, newer.release.digest}


def test_the_predictions_are_those_of_the_model_to_the_last_bit(
    spark: SparkSession, models: Models, tmp_path: Path
) -> None:
    known = transactions(400, 1)
    model = LogisticRegression().fit(known[list(FEATURES)], known["is_fraud"])
    answers = infer_signature(known[list(FEATURES)], model.predict_proba(known[list(FEATURES)]))
    version = models.register(model=model, signature=answers, pyfunc_predict_fn="predict_proba")
    models.seal(version)
    frame, output = rows(200, 3), str(tmp_path / "out")
    sealed = resolve(models, reference(f"{models.name}/{version}"))
    predict_new(spark, Batch(write(tmp_path / "in", frame), 0, output, "id"), sealed)
    plain = mlflow.pyfunc.load_model(f"models:/{models.name}/{version}").predict(frame[list(FEATURES)])
    expected = dict(zip(frame["id"], np.asarray(plain).tolist(), strict=True))
    assert {row["row_key"]: row["prediction"] for row in held(spark, output)} == expected


def test_a_run_that_was_cut_short_is_completed_by_the_next(
    spark: SparkSession, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = models.register()
    models.seal(version)
    table, output = write(tmp_path / "in", rows(60, 4)), str(tmp_path / "out")
    sealed = resolve(models, reference(f"{models.name}/{version}"))
    append, commits = batch_inference.append, []

    def cut(*given: Any, **more: Any) -> None:
        if len(commits) == 2:
            raise KeyboardInterrupt
        commits.append(append(*given, **more))

    monkeypatch.setattr(batch_inference, "append", cut)
    with pytest.raises(KeyboardInterrupt):
        predict_new(spark, Batch(table, 0, output, "id", rows_at_once=15), sealed)
    monkeypatch.undo()
    before = len(held(spark, output))
    done = predict_new(spark, Batch(table, 0, output, "id", rows_at_once=15), sealed)
    assert 0 < before < 60
    assert done["new_rows"] == 60 - before
    assert [row["row_key"] for row in held(spark, output)] == sorted(f"r{number}" for number in range(60))


def test_rows_that_the_model_refuses_go_to_a_table_and_too_many_stop_the_job(
    spark: SparkSession, models: Models, tmp_path: Path
) -> None:
    version = models.register()
    models.seal(version)
    frame = rows(40, 6)
    frame.loc[[3, 11], "amount"] = np.nan
    table, output = write(tmp_path / "in", frame), str(tmp_path / "out")
    sealed = resolve(models, reference(f"{models.name}/{version}"))
    done = predict_new(spark, Batch(table, 0, output, "id", max_failed=0.1), sealed)
    assert (done["predicted"], done["failed"]) == (38, 2)
    assert [row["row_key"] for row in held(spark, f"{output}_errors")] == ["r11", "r3"]
    assert predict_new(spark, Batch(table, 0, output, "id", max_failed=0.1), sealed)["new_rows"] == 0
    with pytest.raises(Refused, match="refuses 2 of 40 rows"):
        predict_new(spark, Batch(table, 0, str(tmp_path / "strict"), "id"), sealed)


def test_what_cannot_be_predicted_is_said_before_anything_is_written(
    spark: SparkSession, models: Models, tmp_path: Path
) -> None:
    version = models.register()
    with pytest.raises(Refused, match="has no seal"):
        resolve(models, reference(f"{models.name}/{version}"))
    with pytest.raises(NotFound, match="live under Production"):
        resolve(models, reference(models.name))
    models.seal(version)
    sealed = resolve(models, reference(f"{models.name}/{version}"))
    twice = write(tmp_path / "twice", pandas.concat([rows(3, 1), rows(3, 1).head(1)]))
    narrow = write(tmp_path / "narrow", rows(3, 1).drop(columns="amount"))
    for table, key, said in (
        (twice, "id", "2 rows of .* have the id 'r0'"),
        (twice, "name", "no column 'name'"),
        (narrow, "id", "lacks columns .*: amount"),
    ):
        with pytest.raises(InvalidData, match=said):
            predict_new(spark, Batch(table, 0, str(tmp_path / "out"), key), sealed)
    assert not (tmp_path / "out").exists()
    assert predict_new(spark, Batch(twice, 0, str(tmp_path / "out")), sealed)["predicted"] == 3
