"""Feedback, from a caller's word to the object store and the trace: once, masked, and by nobody but who asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import mlflow
import pytest

from mlflow_project.adapters.assessments import Assessments
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.api_keys import KeyFile
from mlflow_project.errors import NotFound
from mlflow_project.settings import RegistrySettings, StoreSettings, load
from tests.conftest import RunningStack
from tests.serving.conftest import Host, Releases, until
from tests.unit.test_spool import judgement

SECRET = "4111 1111 1111 1111"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three keys in a file of their own; its place under `file`."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    made = {name: KeyFile(path).create(name, roles)[0] for name, roles in _ROLES.items()}
    return {**made, "file": str(path)}


_ROLES = {"asker": ("call",), "other": ("call",), "admin": ("admin",)}


@pytest.fixture(scope="module")
def judged(
    registry_server: RunningStack, released: Releases, keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """A host with two workers that asks for keys, and one release on it."""
    released.point("judged", released.seal("judged", "judge me").version)
    settings = {"SWITCHYARD_API_KEYS_FILE": keys["file"], "SWITCHYARD_EVENT_SHIP_MS": "200"}
    folder: Path = tmp_path_factory.mktemp("judged") / f"host-{uuid4().hex[:8]}"
    running = Host(folder, SWITCHYARD_API_WORKERS="2", **settings).start()
    until(lambda: asked(running, keys["asker"]).status_code == 200, "judged answers")
    yield running
    running.stop()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def asked(host: Host, key: str, question: str = "why?", **headers: str) -> httpx.Response:
    return host.ask("judged", question, **bearer(key), **headers)


def said(host: Host, key: str, request_id: str, **body: Any) -> httpx.Response:
    return host.http.post("/feedback", json={"request_id": request_id, **body}, headers=bearer(key))


def shipped(host: Host) -> list[dict[str, Any]]:
    """All events of this host in the object store."""
    store = ObjectStore(load(StoreSettings))
    keys = [one.key for one in store.list("raw-data-bucket", "events/") if f"/{host.folder.name}-" in one.key]
    lines = [line for key in keys for line in store.get("raw-data-bucket", key).splitlines()]
    return [json.loads(line) for line in lines]


def test_a_judgement_goes_to_the_object_store_once_with_the_masked_texts(judged: Host, keys: dict[str, str]) -> None:
    answer = asked(judged, keys["asker"], f"Is my card {SECRET} lost?")
    request_id = answer.headers["X-Request-Id"]
    body = {"score": 0, "label": "wrong", "comment": f"not {SECRET}", "corrected_answer": f"Call us about {SECRET}."}
    first = said(judged, keys["asker"], request_id, **body)
    assert (first.status_code, first.json()) == (
        200,
        {"request_id": request_id, "release": "judged/1", "status": "recorded"},
    )
    assert said(judged, keys["asker"], request_id, **body).json()["status"] == "unchanged"
    until(lambda: any(event["request_id"] == request_id for event in shipped(judged)), "the events are shipped")
    until(lambda: {event["kind"] for event in shipped(judged)} == {"answer", "feedback"}, "both kinds are")
    events = [event for event in shipped(judged) if event["request_id"] == request_id]
    assert sorted(event["kind"] for event in events) == ["answer", "feedback"]
    by_kind = {event["kind"]: event for event in events}
    assert by_kind["answer"]["question"] == "Is my card [card] lost?"
    assert by_kind["feedback"]["corrected_answer"] == "Call us about [card]."
    assert by_kind["feedback"]["answer_event"] == by_kind["answer"]["event_id"]
    assert SECRET not in json.dumps(shipped(judged))


def test_any_worker_knows_a_request_at_once_and_only_its_key_or_an_admin_may_judge(
    judged: Host, keys: dict[str, str]
) -> None:
    for _ in range(4):
        request_id = asked(judged, keys["asker"]).headers["X-Request-Id"]
        assert said(judged, keys["asker"], request_id, score=1).status_code == 200
    other = said(judged, keys["other"], request_id, score=1)
    assert (other.status_code, other.json()["title"]) == (403, "Forbidden")
    assert said(judged, keys["admin"], request_id, score=0).json()["status"] == "recorded"
    assert judged.http.post("/feedback", json={"request_id": request_id, "score": 1}).status_code == 401


def test_two_callers_who_chose_the_same_request_id_judge_their_own(judged: Host, keys: dict[str, str]) -> None:
    name = {"X-Request-Id": f"mine-{uuid4().hex}"}
    for key in (keys["asker"], keys["other"]):
        asked(judged, key, **name)
    for key in (keys["asker"], keys["other"]):
        assert said(judged, key, name["X-Request-Id"], score=1).json()["status"] == "recorded"


def test_an_unknown_request_is_404_and_a_wrong_body_422(judged: Host, keys: dict[str, str]) -> None:
    assert said(judged, keys["asker"], "never-asked", score=1).status_code == 404
    request_id = asked(judged, keys["asker"]).headers["X-Request-Id"]
    for wrong in ({}, {"score": "good"}, {"score": True}, {"stars": 5}, {"label": ""}, {"comment": "x" * 10_001}):
        assert said(judged, keys["asker"], request_id, **wrong).status_code == 422, wrong
    assert judged.http.post("/feedback", json={"score": 1}, headers=bearer(keys["asker"])).status_code == 422


def test_a_share_of_nothing_keeps_no_text_and_still_takes_judgements(
    released: Releases, new_host: Callable[..., Host]
) -> None:
    released.point("unsampled", released.seal("unsampled").version)
    host = new_host(SWITCHYARD_EVENT_SHARE="0", SWITCHYARD_EVENT_SHIP_MS="200").start()
    host.serves("unsampled", 1)
    request_id = host.ask("unsampled").headers["X-Request-Id"]
    assert host.http.post("/feedback", json={"request_id": request_id, "score": 1}).status_code == 200
    until(lambda: bool(shipped(host)), "the judgement is shipped")
    assert [event["kind"] for event in shipped(host)] == ["feedback"]


def test_a_judgement_becomes_an_assessment_of_the_trace_once_and_a_changed_one_overrides_it(
    registry_server: RunningStack,
) -> None:
    settings = load(RegistrySettings)
    mlflow.set_tracking_uri(settings.mlflow_uri)
    mlflow.set_experiment("judged")
    with mlflow.start_span("ask") as span:
        trace = str(span.trace_id)
    mlflow.flush_trace_async_logging()
    assessments = Assessments(settings)
    event = judgement("a", 0.0, trace_id=trace.removeprefix("tr-"), comment="No.", corrected_answer="Yes.")
    for told in (event, event, judgement("b", 1.0, trace_id=event.trace_id)):
        assessments.assess(told)
    found = [(one["assessment_name"], one["valid"]) for one in assessments.of(trace) if "feedback" in one]
    assert sorted(found) == [("feedback", False), ("feedback", True)]
    assert [one["expectation"]["value"] for one in assessments.of(trace) if "expectation" in one] == ["Yes."]
    with pytest.raises(NotFound):
        assessments.assess(judgement("c", trace_id="0" * 32))
