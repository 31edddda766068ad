"""Generated raw rows -> features -> training set -> a registered version, on the real object store and registry."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from pyspark.sql import SparkSession

from demo.model_data.fraud import fraud_rows
from demo.model_data.intent import intent_rows
from demo.model_data.training_rows import training_rows
from mlflow_project.adapters.delta_tables import open_table
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import NotFound
from mlflow_project.settings import RegistrySettings, StoreSettings, load
from mlflow_project.training.data import read_rows, rows_digest
from mlflow_project.training.feature_file import FeatureFile
from mlflow_project.training.files import read_declaration
from spark_jobs.feature_engineering_job import build, build_from_run
from tests.conftest import RunningStack
from tests.spark.conftest import spark

__all__ = ["spark"]

ROOT = Path(__file__).parents[2]
SWITCHYARD = str(Path(sys.executable).with_name("switchyard"))


@dataclass(frozen=True)
class Yard:
    """A copy of a model's folder whose tables are its own, with raw rows in the object store, and what was built."""

    folder: Path
    name: str
    built: dict[str, Any]

    def declaration(self) -> FeatureFile:
        return read_declaration(self.folder / "features.yaml", FeatureFile)

    def train(self, *more: str) -> dict[str, Any]:
        done = run("train", str(self.folder), *more, "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SWITCHYARD, *words], capture_output=True, text=True, cwd=ROOT, timeout=240)


def put_rows(model: str, source: str, rows: list[dict[str, Any]], file: str = "rows.jsonl") -> None:
    """Add a file of raw rows of a model."""
    settings = load(StoreSettings)
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    ObjectStore(settings).put(settings.raw_bucket, f"{model}/{source}/{file}", lines)


def yard(spark: SparkSession, folder: Path, model: str, rows: dict[str, Any], model_changes: dict[str, Any]) -> Yard:
    name = f"{model}_{uuid.uuid4().hex[:8]}"
    target = folder / name
    target.mkdir()
    for file, data in rows.items():
        put_rows(name, file, data)
    texts = {file: (ROOT / "models" / model / file).read_text() for file in ("features.yaml", "model.yaml")}
    (target / "features.yaml").write_text(texts["features.yaml"].replace(f"bucket/{model}/", f"bucket/{name}/"))
    declared = yaml.safe_load(texts["model.yaml"].replace(f"bucket/{model}/", f"bucket/{name}/"))
    (target / "model.yaml").write_text(yaml.safe_dump({**declared, **model_changes}))
    built = build(spark, read_declaration(target / "features.yaml", FeatureFile))
    return Yard(target, name, built)


@pytest.fixture(scope="module")
def fraud(spark: SparkSession, registry_server: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Yard:
    few = {
        "folds": 3,
        "candidates": {
            "logistic": {"kind": "linear", "C": 1.0},
            "trees": {"kind": "lightgbm", "n_estimators": 30, "num_leaves": 15},
        },
    }
    rows = fraud_rows(accounts=80, days=40, seed=3)
    return yard(spark, tmp_path_factory.mktemp("fraud"), "fraud", rows, few)


def test_a_fraud_model_is_trained_and_registered_with_all_that_it_was_made_from(fraud: Yard) -> None:
    made = fraud.train()
    client = MlflowClient(load(RegistrySettings).mlflow_uri)
    version = client.get_model_version(fraud.name, str(made["version"]))
    table, _, number = made["test_set"].rpartition("@")
    expected = {"label": "is_fraud", "task": "classifier", "test_table": table, "test_version": number}
    assert {f"switchyard.{key}": value for key, value in expected.items()}.items() <= version.tags.items()
    assert made["data"] == fraud.built["training_set"]
    assert made["metrics"]["average_precision"] > 0.3

    run = client.get_run(made["run"])
    children = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{made['run']}'")
    assert {one.info.run_name for one in children} == {"logistic", "trees"}
    assert all("cv_average_precision" in one.data.metrics for one in children)
    assert run.data.params["data_digest"] == read_rows(made["data"]).digest
    assert {one.dataset.digest for one in run.inputs.dataset_inputs} >= {run.data.params["data_digest"][7:43]}
    files = {one.path for one in client.list_artifacts(made["run"])}
    assert {"training_set.json", "model.json", "importances.json", "confusion_matrix.png", "roc_curve.png"} <= files

    mlflow.set_tracking_uri(load(RegistrySettings).mlflow_uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{fraud.name}/{made['version']}")
    assert loaded.metadata.signature.inputs.input_names() == fraud.declaration().columns()
    assert loaded.input_example is not None
    assert loaded.metadata.flavors["sklearn"]["serialization_format"] == "skops"
    test = read_rows(made["test_set"]).data.to_pandas()
    correct = np.asarray(loaded.predict(test[fraud.declaration().columns()])) == test["is_fraud"]
    assert float(correct.mean()) == made["metrics"]["accuracy"]
    pinned = Path(mlflow.pyfunc.get_model_dependencies(f"models:/{fraud.name}/{made['version']}")).read_text().split()
    assert pinned
    assert all("==" in line for line in pinned)


def test_rows_that_the_demo_makes_without_spark_are_those_of_the_job(fraud: Yard) -> None:
    raw = fraud_rows(accounts=80, days=40, seed=3)
    assert rows_digest(training_rows(fraud.declaration(), raw["transactions"], raw["labels"])) == fraud.built["digest"]


def test_the_same_is_trained_once_and_gives_the_same_metrics_when_it_is_trained_again(fraud: Yard) -> None:
    first = fraud.train()
    known, again = fraud.train(), fraud.train("--again")
    assert (known["version"], known["new"]) == (first["version"], False)
    assert (again["version"] > first["version"], again["new"]) == (True, True)
    assert again["metrics"] == first["metrics"]
    assert again["test_set"] == first["test_set"]


def test_the_training_set_of_a_run_is_made_again_byte_for_byte(spark: SparkSession, fraud: Yard) -> None:
    """Although raw rows came in since, and the newest training set is another one."""
    made = fraud.train()
    for name, rows in fraud_rows(accounts=3, days=20, seed=99).items():
        late = [{**row, "transaction_id": "x" + row["transaction_id"]} for row in rows]
        put_rows(fraud.name, name, late, "more.jsonl")
    assert build(spark, fraud.declaration())["digest"] != fraud.built["digest"]
    again = build_from_run(spark, made["run"], f"s3a://curated-data-bucket/{fraud.name}/again")
    assert again["digest"] == fraud.built["digest"]
    assert parquet_files(again["training_set"]) == parquet_files(made["data"])


def parquet_files(address: str) -> list[bytes]:
    """The bytes of a table's files at a version."""
    table, _, version = address.rpartition("@")
    settings = load(StoreSettings)
    store, bucket = ObjectStore(settings), settings.curated_bucket
    uris = open_table(table, int(version)).file_uris()
    return [store.get(bucket, uri.split(f"{bucket}/")[1]) for uri in uris]


@pytest.mark.long
def test_an_intent_model_learns_from_vectors_of_texts(
    spark: SparkSession, registry_server: RunningStack, tmp_path: Path
) -> None:
    few = {"candidates": {"vectors": {"kind": "support_vectors", "C": 10}}}
    made = yard(spark, tmp_path, "intent", intent_rows(questions=600), few).train()
    assert made["metrics"]["accuracy"] > 0.85


def test_a_table_that_is_not_there_ends_with_2_and_names_it(fraud: Yard) -> None:
    done = run("train", str(fraud.folder), "--data", "s3a://curated-data-bucket/nowhere@3")
    assert (done.returncode, done.stdout) == (2, "")
    assert "There is no Delta table at s3a://curated-data-bucket/nowhere" in done.stderr


@pytest.mark.long
def test_rows_that_fail_an_expectation_end_with_4_and_a_report_and_change_no_table(fraud: Yard, tmp_path: Path) -> None:
    """As a process of its own, the way a workflow starts it."""
    settings, folder = load(StoreSettings), tmp_path / f"bad_{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    text = (ROOT / "models" / "fraud" / "features.yaml").read_text().replace("bucket/fraud/", f"bucket/{folder.name}/")
    (folder / "features.yaml").write_text(text)
    for name, rows in fraud_rows(accounts=2, days=20).items():
        lines = [json.dumps({**row, "amount": -1}) for row in rows] + ["no json"]
        ObjectStore(settings).put(settings.raw_bucket, f"{folder.name}/{name}/rows.jsonl", "\n".join(lines).encode())
    done = run("features", str(folder), "--json")
    assert done.returncode == 4, done.stderr
    report = json.loads(done.stdout)
    assert len(report["failed_expectations"]) == 4
    assert report["events"]["reasons"]["not_json"] == 1
    assert "new lines are rejected, and at most 2.00% may be" in done.stderr
    address = f"s3a://curated-data-bucket/{folder.name}/features"
    assert {row["reason"] for row in read_rows(f"{address}_quarantine").data.to_pylist()} == {"not_json", "expectation"}
    with pytest.raises(NotFound):
        read_rows(f"{address}_events")
