"""Records that come over HTTP arrive in Kafka: once, in order, as they came; also when Kafka is away for a while."""

from __future__ import annotations

import json
import threading
import time
import uuid
from pathlib import Path

import httpx
import pytest

from mlflow_project.adapters.kafka import Cluster, send_all
from mlflow_project.adapters.schema_folder import TopicPlan
from mlflow_project.rules import ingestion as rules
from mlflow_project.settings import KafkaSettings, load
from stack.ingest.processes import supervisor_of
from tests.conftest import RunningStack
from tests.ingestion.conftest import Service, records, running_service


def _headers(message: object) -> dict[str, str]:
    return {name: value.decode() for name, value in message.headers()}  # type: ignore[attr-defined]


def test_a_record_arrives_as_it_came_with_the_request_id_in_its_headers(service: Service) -> None:
    body = b'{"id": "d-1",  "text": "Gr\xc3\xbc\xc3\x9fe", "new_field": 1.50}'
    answer = httpx.post(f"{service.url}/ingest/documents", content=body, headers={"X-Request-Id": "from-here-1"})
    assert answer.status_code == 202
    assert answer.headers["x-request-id"] == "from-here-1"
    said = answer.json()
    [found] = [
        m for m in records("raw-documents") if (m.partition(), m.offset()) == (said["partition"], said["offset"])
    ]
    assert (found.key(), found.value()) == (b"d-1", body)
    headers = _headers(found)
    assert headers[rules.REQUEST_ID] == "from-here-1"
    assert headers[rules.SCHEMA_VERSION] == "1"
    assert headers[rules.EVENT_ID] == said["event_id"]


def test_the_good_lines_of_a_request_are_taken_and_the_bad_ones_named(service: Service) -> None:
    lines = ['{"id": "l-1", "text": "a"}', '{"id": "l-2"}', "{", '{"id": "l-4", "text": "b"}']
    stream = httpx.post(
        f"{service.url}/ingest/documents",
        content="\n".join(lines),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert stream.status_code == 422
    rows = [json.loads(line) for line in stream.text.splitlines()]
    assert [row["status"] for row in rows] == [202, 422, 422, 202]
    assert rows[1]["errors"] == [{"path": "$", "reason": "lacks 'text'"}]
    array = httpx.post(f"{service.url}/ingest/documents", content="[" + ",".join([lines[0], lines[1]]) + "]")
    assert array.status_code == 422
    assert (array.json()["accepted"], array.json()["refused"]) == (1, 1)


def test_a_record_that_is_sent_twice_counts_once(service: Service) -> None:
    event = {"id": "e-1", "who": "ann", "n": 1}
    first, second = (httpx.post(service.path, json=event).json() for _ in range(2))
    assert second["duplicate"] is True
    assert (first["partition"], first["offset"]) == (second["partition"], second["offset"])
    assert httpx.post(service.path, json={**event, "n": 2}).status_code == 409
    keyed = [
        httpx.post(service.path, json={"id": f"k-{n}", "who": "ann"}, headers={"Idempotency-Key": "k"}) for n in (1, 1)
    ]
    assert [answer.json().get("duplicate", False) for answer in keyed] == [False, True]
    document = {"id": "twice", "text": "a"}
    said = [httpx.post(f"{service.url}/ingest/documents", json=document).json() for _ in range(2)]
    assert "duplicate" not in said[0]
    assert said[1]["duplicate"] is True


def test_a_stream_of_lines_is_answered_line_by_line(service: Service) -> None:
    count = 3_000
    body = "".join(json.dumps({"id": f"s-{n}", "who": f"w{n % 7}", "n": n}) + "\n" for n in range(count))
    answer = httpx.post(service.path, content=body, headers={"Content-Type": "application/x-ndjson"}, timeout=60)
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert [row["line"] for row in rows] == list(range(1, count + 1))
    assert {row["status"] for row in rows} == {202}
    found = [m for m in records(service.topic) if json.loads(m.value())["id"].startswith("s-")]
    assert len(found) == count
    for who in range(7):
        mine = [json.loads(m.value())["n"] for m in found if m.key() == f"w{who}".encode()]
        assert mine == sorted(mine)


HOSTILE = {
    "a NUL in the body": (b'{"id": "h-1", "text": "a\\u0000"}', {}, 422),
    "a raw NUL": (b'{"id": "h-1", "text": "a\x00"}', {}, 422),
    "invalid UTF-8": (b'{"id": "h-1", "text": "\xff"}', {}, 422),
    "half a surrogate": (b'{"id": "h-1", "text": "\\ud800"}', {}, 422),
    "half a surrogate in an array": (b'[{"id": "h-1", "text": "\\udfff"}]', {}, 422),
    "an id of control characters": (b'{"id": "\\u0007", "text": "a"}', {}, 422),
    "a request id that is no UTF-8": (b'{"id": "h-2", "text": "a"}', {b"X-Request-Id": b"\xff\xfe"}, 202),
    "an idempotency key that is no UTF-8": (b'{"id": "h-3", "text": "a"}', {b"Idempotency-Key": b"\xff\xfe"}, 202),
    "half a surrogate as the idempotency key": (
        b'{"id": "h-4", "text": "a"}',
        {b"Idempotency-Key": b"\xed\xa0\x80"},
        400,
    ),
    "a trace that is no UTF-8": (b'{"id": "h-5", "text": "a"}', {b"traceparent": b"\xff"}, 202),
    "a record of 10 MB": (
        b'{"id": "h-7", "text": "' + b"x" * 10_000_000 + b'"}',
        {b"Content-Type": b"application/x-ndjson"},
        422,
    ),
    "a version that is no number": (b'{"id": "h-6", "text": "a"}', {b"version": b"\xb2"}, 400),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_bytes_that_are_no_text_are_refused_in_words_or_kept_exactly(service: Service, name: str) -> None:
    body, headers, status = HOSTILE[name]
    query = {"version": headers.pop(b"version").decode("latin-1")} if b"version" in headers else {}
    answer = httpx.post(f"{service.url}/ingest/documents", content=body, headers=headers, params=query)
    assert answer.status_code == status, answer.text
    assert answer.json()
    assert answer.headers["x-request-id"].isascii()


def test_an_id_in_the_path_that_is_no_utf8_deletes_nothing(service: Service) -> None:
    for path, status in (("%FF", 400), ("%00", 422), ("%ED%A0%80", 400), ("Gr%C3%BC%C3%9Fe", 202)):
        answer = httpx.delete(f"{service.url}/ingest/documents/{path}")
        assert answer.status_code == status, answer.text
    assert answer.json()["id"] == "Gr\u00fc\u00dfe"


def test_a_stream_nobody_registered_is_refused_in_words(service: Service) -> None:
    answer = httpx.post(f"{service.url}/ingest/events/unheard-of", json={})
    assert answer.status_code == 404
    assert "No schema is registered" in answer.json()["detail"]
    assert httpx.post(f"{service.url}/ingest/events/UP", json={}).status_code == 422


@pytest.mark.long
def test_records_go_to_the_spool_while_kafka_is_down_and_arrive_in_order(kafka: RunningStack, tmp_path: Path) -> None:
    supervisor = supervisor_of(kafka.state)
    with running_service(kafka, tmp_path, SWITCHYARD_INGEST_SPOOL_MB="1") as service:
        assert "spooled" not in httpx.post(service.path, json={"id": "0", "who": "ann", "n": 0}).json()
        supervisor.halt("kafka")
        try:
            sent = [
                httpx.post(service.path, json={"id": f"{n}", "who": "ann", "n": n}, timeout=30) for n in range(1, 40)
            ]
            assert {answer.status_code for answer in sent} == {202}
            assert all(answer.json()["spooled"] for answer in sent)
            service.kill()
            service.start()
            after = httpx.post(service.path, json={"id": "40", "who": "ann", "n": 40}, timeout=30)
            assert after.json()["spooled"] is True
            big = [
                httpx.post(service.path, json={"id": f"b{n}", "who": "x" * 500, "t": "y" * 200_000}) for n in range(6)
            ]
            assert big[-1].status_code == 503
            assert int(big[-1].headers["retry-after"]) >= 1
            taken = sum(answer.status_code == 202 for answer in big)
        finally:
            supervisor.start("kafka")
        service.until_direct()
        found = [json.loads(m.value()) for m in records(service.topic)]
        assert [row["n"] for row in found if row["who"] == "ann"] == list(range(41))
        assert sum(row["who"] != "ann" for row in found) == taken
        assert "spooled" not in httpx.post(service.path, json={"id": "99", "who": "ann"}).json()


@pytest.mark.long
def test_callers_beyond_a_limit_and_without_a_key_are_refused(kafka: RunningStack, tmp_path: Path) -> None:
    from mlflow_project.api_keys import KeyFile

    token, _ = KeyFile(tmp_path / "keys.json").create("team-a", ("call",), {"requests": "2/minute"})
    with running_service(kafka, tmp_path) as service:
        event = {"id": "1", "who": "ann"}
        assert httpx.post(service.path, json=event).status_code == 401
        key = {"Authorization": f"Bearer {token}"}
        answers = [httpx.post(service.path, json={**event, "id": str(n)}, headers=key) for n in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert "retry-after" in answers[2].headers
        [first, _] = records(service.topic)
        assert _headers(first)[rules.OWNER] == "team-a"


@pytest.mark.long
def test_a_slow_kafka_is_answered_with_429_and_not_with_memory(kafka: RunningStack, tmp_path: Path) -> None:
    supervisor = supervisor_of(kafka.state)
    with running_service(
        kafka, tmp_path, SWITCHYARD_INGEST_PENDING_MB="1", SWITCHYARD_INGEST_KAFKA_SECONDS="8"
    ) as service:
        supervisor.halt("kafka")
        statuses: list[int] = []

        def send(n: int) -> None:
            body = {"id": f"{n}", "who": "ann", "t": "z" * 300_000}
            statuses.append(httpx.post(service.path, json=body, timeout=60).status_code)

        threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
        try:
            for thread in threads:
                thread.start()
                time.sleep(0.2)
        finally:
            supervisor.start("kafka")
        for thread in threads:
            thread.join()
        assert 429 in statuses
        assert statuses.count(202) >= 3


@pytest.mark.long
def test_more_messages_than_the_clients_queue_holds_are_all_sent(kafka: RunningStack) -> None:
    """A redrive of very many dead letters is such a case: the queue of the client takes 100,000 messages."""
    settings, name = load(KafkaSettings), f"events.t{uuid.uuid4().hex[:8]}"
    cluster = Cluster(settings)
    cluster.apply({name: TopicPlan(partitions=2)})
    assert send_all(settings, ({"topic": name, "value": b"x" * 600} for _ in range(400_000))) == 400_000
    assert sum(end for _, end in cluster.offsets(name).values()) == 400_000
