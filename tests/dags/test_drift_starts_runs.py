"""`drift_watch` on the real scheduler: what it finds in three days of real events starts the other two DAGs."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.dags.driving import RunningAirflow, until
from tests.feedback.three_days import ship

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def test_questions_that_drifted_start_the_preparation_and_answers_that_drifted_an_evaluation(
    airflow: RunningAirflow, registry_server: Any
) -> None:
    name = f"watched-{uuid4().hex[:6]}"
    ship(name)
    watching = airflow.trigger("drift_watch", name=name)
    assert airflow.ended("drift_watch", watching) == "success", airflow.tasks("drift_watch", watching)
    for dag, asset in (("prepare_knowledge", "question_drift"), ("evaluate_and_promote", "answer_drift")):
        (started,) = until(lambda dag=dag: airflow.runs(dag, "asset_triggered"), 60, lambda: "no run was started")
        events = airflow.get(f"dags/{dag}/dagRuns/{started}/upstreamAssetEvents")["asset_events"]
        assert [(event["name"], event["extra"]["releases"]) for event in events] == [(asset, [f"{name}/1"])]
