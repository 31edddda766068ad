"""Events leave by an outbox: a catalogue that is down, slow or broken delays no job, and gets everything afterwards."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.run_datasets import place, release
from mlflow_project.adapters.run_flows import Flow
from mlflow_project.adapters.run_log import OUTBOX, RunLog, recorded_run
from mlflow_project.catalog.publish import Published, openlineage_client, publish
from mlflow_project.domain.times import utc_now
from mlflow_project.errors import ConfigError, Refused
from mlflow_project.settings import StoreSettings, load
from tests.catalog.conforming import mistakes
from tests.catalog.receiver import Receiver
from tests.releases.conftest import Yard


def send(yard: Yard, since: str | None = None) -> Published:
    return publish(yard.parts.store, yard.parts.ledger, openlineage_client(), since)


def job(log: RunLog, number: int) -> float:
    """A job that does nothing. Returns how long lineage kept it."""
    began = time.monotonic()
    with recorded_run("nothing", [place("s3a://raw/a")], [place(f"s3a://curated/{number}")], log=log) as running:
        running.describe = lambda: running.learn(
            Flow([place("s3a://raw/a", rows=number)], [release("prompt", "qa", number + 1)])
        )
    return time.monotonic() - began


def outbox(store: ObjectStore) -> list[str]:
    return [each.key for each in store.list(store.settings.coordination_bucket, OUTBOX)]


def keys(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((each["run"]["runId"], each["eventType"]) for each in events)


def test_fifty_jobs_do_not_wait_for_a_broken_catalogue_and_a_wiped_one_gets_the_same_bytes(
    yard: Yard, catalogue: Receiver
) -> None:
    began = utc_now()
    yard.sealed()
    with pytest.raises(Refused), recorded_run("failing", log=RunLog(yard.parts.store)):
        raise Refused("no, ask ann@example.com")
    catalogue.status = 500
    slowest = max(job(RunLog(yard.parts.store), number) for number in range(20))
    assert (done := send(yard)).sent == 0
    assert done.waiting == 44  # 21 jobs with two events each, and the gate's two
    assert "500" in (done.why or "")
    catalogue.status, catalogue.seconds = 201, 3.0
    slowest = max(slowest, *(job(RunLog(yard.parts.store), number) for number in range(20, 50)))
    assert send(yard).sent == 0
    assert slowest < 1.0
    catalogue.seconds, catalogue.bodies = 0.0, []

    done = send(yard)
    assert (done.sent, done.waiting, done.refused, done.unreadable) == (104, 0, [], [])
    assert outbox(yard.parts.store) == []
    assert [error for event in catalogue.events for error in mistakes(event)] == []
    assert len(set(keys(catalogue.events))) == 104
    assert send(yard).sent == 0

    before, catalogue.bodies = set(catalogue.bodies), []  # a slow catalogue may have taken the first event twice
    assert send(yard, began).sent == 104
    assert set(catalogue.bodies) == before
    failed = next(event for event in catalogue.events if event["eventType"] == "FAIL")
    assert failed["run"]["facets"]["errorMessage"]["message"] == "no, ask [email]"


def test_a_store_that_is_down_delays_a_job_by_less_than_a_second_and_the_host_keeps_the_records(
    yard: Yard, catalogue: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow_project.catalog.publish.outbox_folder", lambda: tmp_path)
    silent = ObjectStore(load(StoreSettings, s3_endpoint="http://10.255.255.1:9000"))
    assert job(RunLog(silent, tmp_path), 1) < 1.0
    assert len(list(tmp_path.iterdir())) == 2
    assert send(yard).sent == 2
    assert list(tmp_path.iterdir()) == []


def test_an_event_that_the_catalogue_refuses_does_not_hold_up_the_others(yard: Yard, catalogue: Receiver) -> None:
    began, catalogue.refuses = utc_now(), "bad"
    for name in ("bad", "good"):
        with recorded_run(name, log=RunLog(yard.parts.store)):
            pass
    yard.parts.store.put(yard.parts.store.settings.coordination_bucket, f"{OUTBOX}junk.json", b"{")
    done = send(yard)
    assert (done.sent, done.waiting, len(done.refused), len(done.unreadable)) == (2, 0, 2, 1)
    catalogue.refuses, catalogue.bodies = None, []
    assert send(yard, began).sent == 4


def test_the_command_sends_and_says_exit_code_3_when_the_catalogue_is_down(yard: Yard, catalogue: Receiver) -> None:
    yard.sealed()
    catalogue.status = 503
    code, said = yard.run("lineage", "publish")
    assert code == 3
    assert "Nothing is lost" in said
    catalogue.status = 201
    code, said = yard.run("lineage", "publish", "--json", SWITCHYARD_PARENT_RUN="nonsense")
    assert code == 0, said
    assert json.loads(said[said.index("{") :])["sent"] == 2
    assert yard.run("lineage", "publish", "--since", "yesterday")[0] == 2
    gate = catalogue.events[-1]
    assert gate["job"]["name"] == f"gate.{yard.name}"
    assert gate["run"]["facets"]["evaluation"]["verdict"]["accepted"] is True
    assert gate["inputs"][0]["facets"]["releaseSeal"]["sealedBy"] == "user:gate"


def test_without_a_configuration_events_go_to_a_file_of_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHYARD_STATE", str(tmp_path))
    assert openlineage_client().transport.kind == "file"
    assert (tmp_path / "lineage").is_dir()


def test_a_transport_that_forgets_events_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "async_http")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__URL", "http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="does not say whether an event arrived"):
        openlineage_client()
