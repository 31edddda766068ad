"""`train_model`, `evaluate_and_promote` and `batch_inference` on the real scheduler, each started by the one before:
raw rows of `fraud` become a release in `Production`, which predicts a table."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.dags.driving import ROOT, RunningAirflow, switchyard, until

pytestmark = pytest.mark.timeout(900)


def started_by_event(airflow: RunningAirflow, dag: str, asset: str) -> str:
    """The run that an event of this asset started."""

    def found() -> str | None:
        for run in airflow.runs(dag, "asset_triggered"):
            events = airflow.get(f"dags/{dag}/dagRuns/{run}/upstreamAssetEvents")["asset_events"]
            if any(event["name"] == asset and event["extra"].get("name") == "fraud" for event in events):
                return run
        return None

    return str(until(found, 120, lambda: f"no event of {asset} about fraud started a run of {dag}"))


@pytest.fixture(scope="module")
def trained(airflow: RunningAirflow) -> Any:
    """What `train_model` made of raw rows."""
    subprocess.run([sys.executable, "-m", "demo.model_data", "fraud", "--small"], cwd=ROOT, check=True)
    run = airflow.trigger("train_model", model="fraud")
    assert airflow.ended("train_model", run, 400) == "success", airflow.story("train_model", run)
    return airflow.result("train_model", run, "one_model.train", map_index=0)


def test_new_rows_become_a_release_that_predicts_a_table(airflow: RunningAirflow, trained: Any) -> None:
    run = started_by_event(airflow, "evaluate_and_promote", "switchyard_candidate")
    assert airflow.ended("evaluate_and_promote", run) == "success", airflow.story("evaluate_and_promote", run)
    assert airflow.tasks("evaluate_and_promote", run)["smoke_in_production"] == "success"
    live = [(row["alias"], row["version"]) for row in switchyard("live") if row["name"] == "fraud"]
    assert ("Production", trained["version"]) in live

    run = started_by_event(airflow, "batch_inference", "promotion")
    assert airflow.ended("batch_inference", run, 400) == "success", airflow.story("batch_inference", run)
    tables = "s3a://curated-data-bucket/fraud"
    found = switchyard("sql", f"SELECT release, count(*) AS rows FROM delta.`{tables}/predictions` GROUP BY release")
    rows = switchyard("sql", f"SELECT count(*) AS rows FROM delta.`{tables}/features_training`")[0]["rows"]
    assert found == [{"release": f"fraud/{trained['version']}", "rows": rows}]


def test_after_rows_failed_expectations_nothing_is_trained_unless_a_person_agrees(airflow: RunningAirflow) -> None:
    failed = ["events: 9 of 10 new lines are rejected, and at most 2.00% may be."]
    airflow.rest.asset_event("data_quality", {"model": "fraud", "failed_expectations": failed})
    run = until(lambda: airflow.runs("train_model", "asset_triggered"), 60, lambda: "no run was started")[-1]
    question = airflow.answer("train_model", run, "approval", "Reject")
    assert question["body"].strip() == f"- fraud: {failed[0]}"
    assert airflow.ended("train_model", run) == "success", airflow.story("train_model", run)
    assert {state for task, state in airflow.tasks("train_model", run).items() if "one_model" in task} == {"skipped"}
