"""`fine_tune` on the real scheduler: a set becomes a version with a tuned model, and the next DAG hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dags.driving import RunningAirflow, until
from tests.fine_tuning.fixtures import examples, prompt
from tests.provider.fixtures import Simulated

__all__ = ["examples", "prompt"]
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def test_a_tuned_model_becomes_a_candidate_after_two_looks(
    airflow: RunningAirflow, provider: Simulated, examples: Path, prompt: str
) -> None:
    provider.script.tuning.looks = 1
    form = {"set": str(examples), "model": "base-1", "for": f"{prompt}/1", "usd_per_million": 8, "max_usd": 1}
    run = airflow.trigger("fine_tune", **form)
    assert airflow.ended("fine_tune", run, 600) == "success", airflow.story("fine_tune", run)
    assert airflow.result("fine_tune", run, "tuned")["version"] == 2
    assert len(provider.script.tuning.jobs) == 1
    started = until(lambda: airflow.runs("evaluate_and_promote", "asset_triggered"), 60, lambda: "no run was started")
    events = airflow.get(f"dags/evaluate_and_promote/dagRuns/{started[-1]}/upstreamAssetEvents")["asset_events"]
    assert [event["extra"] for event in events] == [{"name": prompt, "version": 2}]
