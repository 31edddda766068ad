"""`evaluate_and_promote` on the real scheduler, with a policy that asks for a replay and a rollout.

The DAG begins both, waits without a worker, and ends when the guard or a person has ended the rollout."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from mlflow_project.settings import ClientSettings, load
from tests.dags.driving import ROOT, RunningAirflow, switchyard, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

DAG = "evaluate_and_promote"
NAME = "in_steps"
CONTEXT = "Paris is the capital of France."
POLICY = """
min_cases: 5
metrics:
  contains: {direction: higher, floor: 0.5}
  groundedness: {direction: higher, rule: non_inferior, margin: 0.05}
replay: {n: 20, non_inferior: groundedness}
rollout: {steps: [50%, 100%], every: 2s, unit: request}
guard: {indicators: {errors: {}}, bake: 1m}
"""
TEMPLATE = """---
provider: {name: extractive, model: extractive-1, parameters: {sentences: 1}}
---
# user

In tone %d, answer: {{question}}
"""


@pytest.fixture(scope="module")
def prompt() -> Iterator[str]:
    """A prompt of the repository with three versions, while this test runs: the DAG knows only those."""
    folder = ROOT / "prompts" / NAME
    folder.mkdir()
    try:
        case = {"question": "What is the capital of France?", "context": CONTEXT, "expected": ["Paris"]}
        lines = (json.dumps({"id": str(number), **case}) for number in range(6))
        (folder / "cases.jsonl").write_text("\n".join(lines))
        (folder / "policy.yaml").write_text(POLICY)
        for version in (1, 2, 3):
            (folder / f"v{version}.md").write_text(TEMPLATE % version)
        yield NAME
    finally:
        shutil.rmtree(folder)


@contextmanager
def callers() -> Iterator[list[int]]:
    """About fifteen questions a second, which a worker records all; the status of each answer."""
    found: list[int] = []
    stop = threading.Event()
    url = f"{load(ClientSettings).api_url}/prompts/{NAME}/invocations"

    def call() -> None:
        with httpx.Client(timeout=20) as http:
            while not stop.wait(0.06):
                question = f"What is the capital of France, asked {len(found)} times?"
                answer = http.post(url, json={"variables": {"question": question}, "context": CONTEXT})
                found.append(answer.status_code)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def records(kind: str) -> list[Any]:
    return [row for row in switchyard("history", NAME) if row["type"] == kind]


def test_the_dag_replays_and_rolls_out_and_ends_when_the_rollout_has_ended(
    airflow: RunningAirflow, prompt: str
) -> None:
    switchyard("register", f"prompts/{NAME}")
    for command in ("evaluate", "gate"):
        switchyard(command, NAME, "--version", "1")
    switchyard("promote", NAME, "--version", "1", "--to", "Production")
    with callers() as answers:
        until(lambda: len(answers) >= 60, 60, lambda: f"{len(answers)} answers")
        time.sleep(5)  # the events are shipped
        second = airflow.trigger(DAG, name=NAME, version=2)
        assert airflow.ended(DAG, second, 500) == "success", airflow.story(DAG, second)
        assert airflow.result(DAG, second, "replay")["accepted"]
        assert airflow.tasks(DAG, second)["announce_promotion"] == "success"
        assert (records("finish")[0]["who"], len(records("replay"))) == ("guard", 1)
    assert set(answers) == {200}

    third = airflow.trigger(DAG, name=NAME, version=3)  # nobody calls, so the guard waits
    until(
        lambda: airflow.tasks(DAG, third).get("in_production") == "up_for_reschedule",
        400,
        lambda: airflow.story(DAG, third),
    )
    said = switchyard("rollout", "status", NAME)
    assert (said["rollout"]["share"], said["guard"]["state"], said["guard"]["silent"]) == (0.5, "inconclusive", False)
    switchyard("rollout", "abort", NAME, "--reason", "a person has looked")
    assert airflow.ended(DAG, third, 300) == "failed", airflow.story(DAG, third)
    tasks = airflow.tasks(DAG, third)
    assert (tasks["in_production"], tasks["roll_back"]) == ("failed", "skipped")
    live = {row["alias"]: row["version"] for row in switchyard("live") if row["name"] == NAME}
    assert live["Production"] == 2
