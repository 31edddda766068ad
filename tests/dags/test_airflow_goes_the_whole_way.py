"""The three DAGs on the real scheduler, driven over REST, beside the real stack. The tests follow one story, in order:
a knowledge base is made, its event brings versions up to Production; a person goes back, says no and then yes; what
fails in production is rolled back."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from mlflow_project.adapters.airflow import airflow_settings, announce_candidates
from mlflow_project.api_keys import KeyFile
from mlflow_project.drift.record import announce
from mlflow_project.drift.watch import Watched
from mlflow_project.rules.drift.calibration import Found
from mlflow_project.settings import KeySettings, load, state_folder
from tests.catalog.conforming import mistakes
from tests.dags.driving import ROOT, RunningAirflow, switchyard, until

RAW = "s3a://raw-data-bucket/articles/raw_docs.json"
PROMOTE = "evaluate_and_promote"

pytestmark = pytest.mark.timeout(1200)  # stack, Airflow and Spark start in the first two tests' set-up


def in_production() -> str | None:
    """The live release of `qa`, such as `qa/2`."""
    rows = [row for row in switchyard("live") if (row["name"], row["alias"]) == ("qa", "Production")]
    return f"qa/{rows[0]['version']}" if rows else None


def test_credentials_are_their_owners_alone_and_stand_in_no_command_line(airflow: RunningAirflow) -> None:
    for file in ("secrets.json", "passwords.json", "airflow.env"):
        assert stat.S_IMODE((airflow.home / file).stat().st_mode) == 0o600, file
    kept = json.loads((airflow.home / "secrets.json").read_text()).values()
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines for secret in kept if secret in line]


@pytest.fixture(scope="module")
def prepared(airflow: RunningAirflow) -> str:
    """A finished run of `prepare_knowledge` on the project's own documentation."""
    subprocess.run([sys.executable, "-m", "demo.corpus", "docs/guide", RAW], cwd=ROOT, check=True)
    run = airflow.trigger("prepare_knowledge")
    assert airflow.ended("prepare_knowledge", run, 600) == "success", airflow.story("prepare_knowledge", run)
    return run


def test_the_event_of_the_knowledge_base_carries_the_delta_version(airflow: RunningAirflow, prepared: str) -> None:
    events = airflow.get("assets/events", source_dag_id="prepare_knowledge")["asset_events"]
    made = airflow.result("prepare_knowledge", prepared, "index")
    assert [event["extra"]["delta_version"] for event in events] == [made["delta_version"]]
    assert events[0]["extra"]["index"].startswith("sha256:")


def test_lineage_says_that_the_chunks_were_made_from_the_raw_documents(airflow: RunningAirflow, prepared: str) -> None:
    lines = (airflow.home / "lineage" / "events.jsonl").read_text().splitlines()
    ended = [event for event in map(json.loads, lines) if event["eventType"] == "COMPLETE"]
    chunk = next(event for event in ended if event["job"]["name"] == "prepare_knowledge.chunk")
    assert [(each["namespace"], each["name"]) for each in chunk["inputs"]] == [
        ("s3://raw-data-bucket", "articles/raw_docs.json")
    ]
    assert [each["name"] for each in chunk["outputs"]] == ["llm_prepared_docs"]


def test_events_of_airflow_and_of_switchyard_are_one_graph(airflow: RunningAirflow, prepared: str) -> None:
    switchyard("lineage", "publish")
    theirs, ours = (
        [json.loads(line) for line in (folder / "lineage" / "events.jsonl").read_text().splitlines()]
        for folder in (airflow.home, state_folder())
    )
    tasks = {event["run"]["runId"]: event["job"]["name"] for event in theirs}
    ended = {event["job"]["name"]: event for event in ours if event["eventType"] == "COMPLETE"}
    parents = {name: event["run"]["facets"].get("parent", {}) for name, event in ended.items()}
    assert tasks[parents["prepare"]["run"]["runId"]] == "prepare_knowledge.chunk"
    assert tasks[parents["index"]["run"]["runId"]] == "prepare_knowledge.index"
    assert parents["prepare"]["root"]["job"]["name"] == "prepare_knowledge"
    chunks = ended["prepare"]["outputs"][0]
    read = ended["index"]["inputs"][0]
    assert (chunks["namespace"], chunks["name"], chunks["facets"]["version"]) == (
        *(read["namespace"], read["name"], read["facets"]["version"]),
    )
    assert chunks["facets"]["columnLineage"]["fields"]["text_content"]["inputFields"][0]["field"] == "text"
    assert [error for event in ours for error in mistakes(event)] == []


def test_a_new_knowledge_base_brings_a_first_version_to_production(airflow: RunningAirflow, prepared: str) -> None:
    run = until(lambda: airflow.runs(PROMOTE, "asset_triggered"), 60, lambda: "no run was started by the asset")[0]
    assert airflow.ended(PROMOTE, run) == "success", airflow.story(PROMOTE, run)
    tasks = airflow.tasks(PROMOTE, run)
    assert tasks["promote_to_production"] == "success"
    assert tasks["approval"] == "skipped", "the policy asks for nobody"
    rows = switchyard("history", "qa")
    assert [row["version"] for row in rows if row["type"] == "flip" and row["alias"] == "Production"][:1] == [1]


def test_the_other_candidates_follow_and_a_refused_one_stops_and_shows_why(
    airflow: RunningAirflow, prepared: str
) -> None:
    first, second, third = (_next_run(airflow, number) for number in range(3))
    assert airflow.result(PROMOTE, first, "choose")[0] == {"name": "qa", "version": 2}
    assert airflow.ended(PROMOTE, second) == "success"
    tasks, verdict = airflow.tasks(PROMOTE, second), airflow.result(PROMOTE, second, "gate")
    assert (tasks["gate"], tasks["accepted"]) == ("success", "success")
    assert tasks["promote_to_staging"] == tasks["promote_to_production"] == tasks["roll_back"] == "skipped"
    assert not verdict["accepted"]
    assert verdict["reasons"]
    assert airflow.result(PROMOTE, third, "choose")[0]["name"] == "sentiment_analysis", "a refusal does not end the row"
    assert in_production() == "qa/2"


def _next_run(airflow: RunningAirflow, number: int) -> str:
    found = until(
        lambda: airflow.runs(PROMOTE, "operator_triggered")[number:], 120, lambda: f"candidate {number + 2} got no run"
    )
    until(lambda: airflow.tasks(PROMOTE, found[0]).get("choose") == "success", 60, lambda: "nothing was chosen")
    return str(found[0])


@pytest.fixture(scope="module")
def announced(airflow: RunningAirflow, prepared: str) -> str:
    """The run that an event about `qa/3` starts, while the next test goes on."""
    before = airflow.runs(PROMOTE, "asset_triggered")
    said = announce_candidates(airflow_settings(), [("qa", 3)])
    assert "evaluate_and_promote starts" in said
    assert "/dags/evaluate_and_promote" in said
    run = until(lambda: airflow.runs(PROMOTE, "asset_triggered")[len(before) :], 60, lambda: "no run was started")[0]
    return str(run)


def test_a_rollback_offers_the_versions_that_were_live(airflow: RunningAirflow, announced: str) -> None:
    """The gate's record on `qa/3` is waited for: between a rollback's look at the ledger and its own record it would
    be somebody else's, which refuses the rollback."""
    run = airflow.trigger("rollback", name="qa", reason="a test goes back", choose_from_list=True)
    assert airflow.ended(PROMOTE, announced) == "success", airflow.story(PROMOTE, announced)
    question = airflow.answer("rollback", run, "pick", 1, map_index=0)
    assert [option.split()[0] for option in question["options"]] == ["2", "1"]
    assert airflow.ended("rollback", run) == "success", airflow.story("rollback", run)
    assert airflow.result("rollback", run, "smoke") == "qa/1" == in_production()


@pytest.fixture(scope="module")
def rejected(airflow: RunningAirflow, prepared: str) -> str:
    """A run on `qa/2` that a person was asked about, and said no to."""
    again = {"despite_rollback": "the rollback was only a test"}
    run = airflow.trigger(PROMOTE, name="qa", version=2, ask_a_person=True, **again)
    question = airflow.answer(PROMOTE, run, "approval", "Reject")
    assert question["subject"] == "qa/2 to Production?"
    assert question["body"]
    assert airflow.ended(PROMOTE, run) == "success", airflow.story(PROMOTE, run)
    return run


def test_what_a_person_rejects_stays_out_and_the_run_is_a_success(airflow: RunningAirflow, rejected: str) -> None:
    assert airflow.tasks(PROMOTE, rejected)["promote_to_production"] == "skipped"
    assert in_production() == "qa/1"


def test_what_a_person_approves_goes_live_and_is_rolled_back_when_production_fails_its_smoke_questions(
    airflow: RunningAirflow, rejected: str
) -> None:
    airflow.ask_again(PROMOTE, rejected, "approval")
    with questions_are_refused():
        airflow.answer(PROMOTE, rejected, "approval", "Approve")
        until(
            lambda: airflow.tasks(PROMOTE, rejected).get("roll_back") == "failed",
            150,
            lambda: airflow.story(PROMOTE, rejected),
        )
    assert airflow.ended(PROMOTE, rejected) == "failed", "a person is to look"
    tasks = airflow.tasks(PROMOTE, rejected)
    assert (tasks["promote_to_production"], tasks["smoke_in_production"]) == ("success", "failed")
    flips = [row for row in switchyard("history", "qa") if row["type"] in ("flip", "rollback")]
    why = "approved in Airflow by switchyard; the rollback was only a test"
    assert (flips[-2]["who"], flips[-2]["why"]) == ("airflow:switchyard", why)
    assert flips[-1]["type"] == "rollback"
    assert "qa/2 failed its smoke questions" in flips[-1]["why"]
    assert in_production() == "qa/1"


@contextmanager
def questions_are_refused() -> Iterator[None]:
    """An API key exists that Airflow does not have: the server refuses its questions, and the rest goes on."""
    keys = load(KeySettings).api_keys_file
    KeyFile(keys).create("somebody else", ("call",))
    try:
        yield
    finally:
        keys.unlink()


def test_an_announced_candidate_gets_a_run(airflow: RunningAirflow, announced: str) -> None:
    assert airflow.ended(PROMOTE, announced) == "success", airflow.story(PROMOTE, announced)
    assert airflow.result(PROMOTE, announced, "choose") == [{"name": "qa", "version": 3}]
    assert airflow.tasks(PROMOTE, announced)["promote_to_staging"] == "skipped"


def test_announced_drift_gets_a_run(airflow: RunningAirflow, prepared: str) -> None:
    before = airflow.runs(PROMOTE, "asset_triggered")
    longer = Found("answer length", distance=0.9, usual=0.1, score=4.0, p=0.001)
    drifted = Watched("qa", "qa/2", "sha256:0", "", "", rows=100, reference=100, status="drift", found=(longer,))
    assert announce(airflow_settings(), [drifted]) == ["answer_drift"]
    new = until(lambda: airflow.runs(PROMOTE, "asset_triggered")[len(before) :], 60, lambda: "no run was started")[0]
    assert airflow.ended(PROMOTE, new), "all that is left to judge is chosen, or nothing is"
