"""Callers send JSON schemas that lead elsewhere, loop, or grow without end.

The attacker holds an API key, or reaches a server without keys. He wants the server to fetch an address for him, or to
stand still. He gets a 400 that says what is wrong with his schema.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mlflow_project.domain.release import ProviderChoice
from tests.attacks.watching import MOST_STALL_SECONDS, stall_of
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated
from tests.serving.conftest import Host
from tests.serving.snapshots import Snapshots

SIMULATED = ProviderChoice("openai", "simulated-1", {"tries": 1, "first_byte_seconds": 4.0})
ANY_OBJECT = {"type": "object"}


@pytest.fixture(scope="module")
def host(released: Snapshots, provider_process: Simulated) -> Iterator[Host]:
    released.seal("form", provider=SIMULATED, response_schema=ANY_OBJECT)
    released.point("form", 1)
    running = released.host(LLM_API_URL=provider_process.openai_url, LLM_API_KEY="provider-secret-0123456789")
    running.start_server()
    yield running
    running.stop()


@pytest.fixture
def silent_address() -> Iterator[socket.socket]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def ask(host: Host, schema: Any, kind: str = "json_schema") -> httpx.Response:
    body = {
        "model": "form",
        "messages": [{"role": "user", "content": "why?"}],
        "response_format": {"type": kind, "json_schema": {"name": "x", "schema": schema}},
    }
    return host.http.post("/v1/chat/completions", json=body)


def doubled(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"allOf": [schema, schema]}
    return schema


def shared(levels: int) -> dict[str, Any]:
    """As `doubled`, written small: each level refers twice to the next."""
    names = {f"a{level}": {"allOf": [{"$ref": f"#/$defs/a{level + 1}"}] * 2} for level in range(levels)}
    return {"$ref": "#/$defs/a0", "$defs": {**names, f"a{levels}": {"type": "object"}}}


@pytest.mark.parametrize("kind", ["json_schema", "text", "json_object"])
def test_a_schema_that_refers_to_an_address_is_refused_and_nothing_is_fetched(
    host: Host, silent_address: socket.socket, provider_server: Simulated, kind: str
) -> None:
    provider_server.will(always=Behaviour(text="{}"))
    answer = ask(host, {"$ref": f"http://127.0.0.1:{silent_address.getsockname()[1]}/x"}, kind)
    assert answer.status_code == 400
    assert "schema" in answer.json()["detail"]
    with pytest.raises(BlockingIOError):
        silent_address.accept()
    assert provider_server.requests == []


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "ftp://127.0.0.1/x"},
        {"$schema": "http://127.0.0.1:9/meta", "$ref": "http://127.0.0.1:9/meta"},
        {"$id": "http://127.0.0.1:9/", "$ref": "x"},
        {"properties": {"a": {"$id": "file:///etc/", "$ref": "passwd"}}},
        {"$dynamicRef": "http://127.0.0.1:9/x"},
        {"type": "banana"},
        {"pattern": "((a*)*)*$(?!b)"},
        {"pattern": "((a{999}){999}){999}"},
        {"enum": "x"},
        ["x"],
        "x",
        5,
        doubled(10),
        doubled(14),
        shared(40),
        {"properties": {"c": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}},
        {"properties": {f"p{number}": {"type": "string"} for number in range(5_000)}},
        {"properties": {f"p{number}": {"pattern": f"[a-z]{{1,200}}{number}"} for number in range(1_000)}},
    ],
)
def test_a_hostile_schema_is_refused_in_words_and_holds_nobody_up(
    host: Host, provider_server: Simulated, schema: Any
) -> None:
    provider_server.will(always=Behaviour(text="{}"))
    answers: list[httpx.Response] = []
    assert stall_of(host, lambda: answers.append(ask(host, schema))) < MOST_STALL_SECONDS
    assert {answer.status_code for answer in answers} <= {400, 413}
    assert all("schema" in answer.text or answer.status_code == 413 for answer in answers)


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"patternProperties": {"^(a+)+$": {"type": "string"}}}, '{"' + "a" * 20_000 + '!": 1}'),
        ({"properties": {"a": {"items": {"enum": [[1], [2]]}}}}, '{"a": [' + "[3]," * 200_000 + "[3]]}"),
        ({"properties": {"a": {"uniqueItems": True}}}, '{"a": [' + ",".join(f"[{n}]" for n in range(90_000)) + "]}"),
        ({"properties": {"a": {"items": {"minimum": 2}}}}, '{"a": [' + "1," * 90_000 + "1]}"),
        ({"additionalProperties": {"$ref": "#"}}, '{"a":' * 900 + "1" + "}" * 900),
    ],
    ids=["pattern", "lists", "unique", "every item wrong", "deep"],
)
def test_a_large_answer_under_a_legal_schema_holds_nobody_up(
    host: Host, provider_server: Simulated, schema: Any, answer: str
) -> None:
    provider_server.will(always=Behaviour(text=answer))
    answers: list[httpx.Response] = []
    assert stall_of(host, lambda: answers.append(ask(host, schema))) < MOST_STALL_SECONDS
    assert {each.status_code for each in answers} <= {200, 502}


def test_a_callers_schema_still_narrows_the_releases_own(host: Host, provider_server: Simulated) -> None:
    provider_server.will(always=Behaviour(text='{"a": 1}'))
    assert ask(host, {"properties": {"a": {"type": "integer"}}}).status_code == 200
    refused = ask(host, {"properties": {"a": {"type": "string"}}})
    assert refused.status_code == 502
    assert '$.a breaks type: "string"' in refused.json()["detail"]
