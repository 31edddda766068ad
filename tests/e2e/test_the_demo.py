"""The main job, twice, on real servers; what it printed is held against MLflow, MinIO and the server."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import load_text
from mlflow.entities import Run

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.registry import Registry
from mlflow_project.settings import ClientSettings, RegistrySettings, StoreSettings, load
from tests.conftest import own_settings, running
from tests.processor_time import costs_at_most

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(900)  # a minute and a half on a quiet machine


def run_demo(env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "demo"], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def first(stack: Any) -> str:
    return run_demo(stack.env)


@pytest.fixture(scope="module")
def second(stack: Any, first: str) -> str:
    return run_demo(stack.env)


def test_the_first_run_goes_through_all_nine_steps(first: str) -> None:
    assert [f"{number}/9" in first for number in range(1, 10)] == [True] * 9
    assert "The main job is done" in first


def test_each_public_command_is_printed_before_its_output(first: str) -> None:
    commands = re.findall(r"^\$ (\S+ \S+)", first, re.MULTILINE)
    for wanted in ("spark-submit spark_jobs/llm_data_prep.py", "switchyard evaluate", "switchyard gate"):
        assert wanted in commands
    for wanted in ("switchyard promote", "switchyard reconcile", "switchyard rollback"):
        assert wanted in commands


def test_the_broken_line_is_in_quarantine_with_its_reason(first: str) -> None:
    assert re.search(r"not_json\s+│ 1", first)


def test_the_answers_came_from_version_one_then_two_then_two_again_then_one(first: str) -> None:
    assert re.findall(r"^X-Release: qa/(\d+) ", first, re.MULTILINE) == ["1", "2", "2", "1"]


def test_a_model_is_released_unless_another_one_is_live(first: str) -> None:
    """Tests of Airflow, which run on the same stack before, leave a `fraud` in Production."""
    answered = re.findall(r"^X-Release: (fraud/\d+)", first, re.MULTILINE)
    assert "which the demo did not train: it stays" in first if not answered else answered == ["fraud/2", "fraud/1"]


@pytest.mark.parametrize("words", [("live",), ("history", "qa"), ("ask", "qa", "What is an alias?")], ids=" ".join)
def test_a_command_that_only_asks_costs_half_a_second_of_processor_time(
    stack: Any, first: str, words: tuple[str, ...]
) -> None:
    """On a running stack, where it also reads what it is answered."""
    assert costs_at_most(0.5, *words, env=stack.env)


@pytest.mark.long
def test_on_a_new_stack_a_model_is_trained_promoted_asked_and_rolled_back_and_the_next_run_finds_it() -> None:
    model_alone = "from demo.__main__ import release_a_model; release_a_model()"
    with own_settings() as state:
        env = {**os.environ, **running(state, "minio", "mlflow", "follower", "server").env}
        for said in ('"new": true', "fraud/1 is live already"):
            done = subprocess.run(
                [sys.executable, "-c", model_alone], cwd=ROOT, env=env, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
            assert said in done.stdout
            assert re.findall(r"^X-Release: (fraud/\d+)", done.stdout, re.MULTILINE) == ["fraud/2", "fraud/1"]
        rows = httpx.get(load(ClientSettings).api_url + "/releases").json()["releases"]
        assert ("fraud", "Production", 1) in [(row["name"], row["alias"], row["version"]) for row in rows]


def test_mlflow_minio_and_the_server_agree_on_what_is_live(second: str) -> None:
    entry = Registry(load(RegistrySettings)).entry("qa")
    assert entry is not None
    assert entry.aliases["Production"] == 1
    store = ObjectStore(load(StoreSettings))
    assert store.get("raw-data-bucket", "articles/raw_docs.json").count(b"broken-on-purpose") == 1
    assert any(item.key.endswith(".parquet") for item in store.list("curated-data-bucket", "llm_prepared_docs/"))
    rows = httpx.get(load(ClientSettings).api_url + "/releases").json()["releases"]
    assert [row["version"] for row in rows if row["name"] == "qa" and row["alias"] == "Production"] == [1]


def test_the_second_run_says_what_was_already_there(second: str) -> None:
    assert "already holds" in second
    assert "qa/1 is live already" in second


def test_the_llm_query_route_answers_with_the_live_release(second: str) -> None:
    answer = httpx.post(load(ClientSettings).api_url + "/llm-query/", json={"text_input": "What is a receipt?"})
    assert answer.status_code == 200
    assert set(answer.json()) == {"original_input", "generated_text", "tokens_used", "processing_time_ms"}
    assert answer.headers["X-Release"] == "qa/1"


def mlflow_run(entry: str, *parameters: str, ends: str = "succeeded") -> Run:
    """`mlflow run` as the README says; the run that it made, which must have succeeded or failed."""
    given = [word for parameter in parameters for word in ("-P", parameter)]
    command = ["mlflow", "run", ".", "-e", entry, "--env-manager", "local", *given]
    own = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=200)
    assert done.returncode == (0 if ends == "succeeded" else 1), done.stdout[-2000:] + done.stderr[-2000:]
    found = re.search(rf"Run \(ID '([0-9a-f]+)'\) {ends}", done.stderr + done.stdout)
    assert found
    return MlflowClient(load(RegistrySettings).mlflow_uri).get_run(found.group(1))


@pytest.mark.parametrize(("on_refusal", "ends"), [("fail", "failed"), ("log", "succeeded")])
def test_a_refusal_through_mlflow_run_fails_unless_it_is_only_to_be_logged(
    second: str, on_refusal: str, ends: str
) -> None:
    given = () if on_refusal == "fail" else (f"on_refusal={on_refusal}",)
    run = mlflow_run("promote", "name=qa", "version=3", *given, ends=ends)
    assert run.data.tags["switchyard.refused"] == "true"
    assert "qa/3 has no seal" in load_verdict(run)


def test_a_rollback_through_mlflow_run_flips(second: str) -> None:
    assert "was rolled back" in load_verdict(mlflow_run("promote", "name=qa", "version=2", ends="failed"))
    run = mlflow_run("promote", "name=qa", "version=2", "despite_rollback=the demo's reason was none")
    assert run.data.tags["switchyard.refused"] == "false"
    mlflow_run("rollback", "name=qa", "reason=it was a test")
    entry = Registry(load(RegistrySettings)).entry("qa")
    assert entry is not None
    assert entry.aliases["Production"] == 1


def load_verdict(run: Run) -> str:
    return str(load_text(f"runs:/{run.info.run_id}/verdict.txt"))
