"""Callers send JSON, texts and headers that are dear to read.

The attacker may send any bytes to any route. He wants a stack trace, or an event loop that answers nobody. He gets a
4xx that says what is wrong, or an answer, and other callers wait less than a tenth of a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mlflow_project.domain.release import Message, ProviderChoice
from mlflow_project.web.problems import TooLarge
from serving.edge.body import MOST_VALUES, check_values
from tests.attacks.watching import MOST_STALL_SECONDS, stall_of
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated
from tests.serving.conftest import Host
from tests.serving.snapshots import Snapshots

SIMULATED = ProviderChoice("openai", "simulated-1", {"tries": 1, "first_byte_seconds": 4.0})
ROUTES = (
    *("/llm-query/", "/prompts/quote/invocations", "/v1/chat/completions", "/v1/responses", "/v1/embeddings"),
    *("/feedback", "/webhooks/mlflow"),
)
MOST = 1_000_000
"""Just within the size of a body."""


@pytest.fixture(scope="module")
def host(released: Snapshots, provider_process: Simulated) -> Iterator[Host]:
    released.seal("quote", template=(Message("user", "{{question}}"),))
    released.seal("mood", provider=ProviderChoice("lexicon", "lexicon-1", {}))
    released.seal("talk", provider=SIMULATED)
    for name in ("quote", "mood", "talk"):
        released.point(name, 1)
    settings = {
        "LLM_API_URL": provider_process.openai_url,
        "LLM_API_KEY": "provider-secret-0123456789",
        "SWITCHYARD_DEFAULT_PROMPT": "quote",
        "SWITCHYARD_WEBHOOK_SECRET": "webhook-secret-0123456789",
    }
    running = released.host(**settings)
    running.start_server()
    yield running
    running.stop()


def _filled(opening: str, piece: str, closing: str, size: int = MOST) -> bytes:
    return (opening + piece * ((size - len(opening) - len(closing)) // len(piece)) + closing).encode()


BODIES: dict[str, bytes] = {
    "empty": b"",
    "not UTF-8": b'{"text_input": "\xff\xfe"}',
    "half a surrogate": b'{"text_input": "\\ud800", "variables": {"question": "\\ud800"}}',
    "a number without end": b'{"text_input": ' + b"9" * 900_000 + b"}",
    "an endless exponent": b'{"request_id": "x", "score": 1e999999999, "text_input": 1e999}',
    "no number": b'{"request_id": "x", "score": NaN}',
    "deep lists": _filled('{"messages": ', "[", "]"),
    "deep objects": _filled('{"variables": ', '{"a":', "1"),
    "many lists": _filled('{"messages": [', "[],", "[]]}"),
    "many messages": _filled('{"model": "quote", "messages": [', '{"role":"user","content":""},', "{}]}"),
    "many fields": ("{" + ",".join(f'"f{n}":1' for n in range(80_000)) + "}").encode(),
    "many variables": ('{"variables": {' + ",".join(f'"v{n}":"x"' for n in range(60_000)) + "}}").encode(),
    "many wrong ones": _filled('{"model": "quote", "messages": [', '{"x":1},', "{}]}", 100_000),
    "one field many times": _filled("{", '"text_input": "a",', '"text_input": "b"}'),
    "only quotes": b'"' * MOST,
    "only escapes": b'"' + b"\\" * (MOST - 2) + b'"',
    "escaped quotes": b'{"text_input": "' + b'\\"' * 400_000,
    "control characters": b'{"text_input": "\x00\x01"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a long name": b'{"' + b"n" * 900_000 + b'": 1}',
    "a list": b"[]",
    "null": b"null",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_no_body_is_an_error_of_the_servers_or_holds_others_up(host: Host, body: bytes) -> None:
    answers: list[httpx.Response] = []

    def ask() -> None:
        for route in ROUTES:
            headers = {"Content-Type": "application/json"}
            answers.append(host.http.post(route, content=body, headers=headers))

    assert stall_of(host, ask) < MOST_STALL_SECONDS
    assert {answer.status_code for answer in answers} <= {400, 401, 413, 422}
    assert all(len(answer.content) < 50_000 for answer in answers), "an error is short, however long the body was"


TEXTS = {
    "sentences": "It works. ",
    "digits": "1 1 ",
    "lines": "\n",
    "headings": "# a\n",
    "names": "Ada Grey ",
    "delimiters": "</chunk ",
    "accents": "é́ ",
    "marks": "[1]",
    "slots": "{{question}}",
}


@pytest.mark.parametrize("piece", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("name", ["quote", "mood", "talk"])
def test_no_long_text_of_a_callers_holds_others_up(
    host: Host, provider_server: Simulated, name: str, piece: str
) -> None:
    provider_server.will(always=Behaviour(text="[1] yes"))
    text = (piece * 200_000)[:200_000]
    body: dict[str, Any] = {"variables": {"question": text}, "context": text}
    answers: list[httpx.Response] = []
    url = f"/prompts/{name}/invocations"
    assert stall_of(host, lambda: answers.append(host.http.post(url, json=body, timeout=60))) < MOST_STALL_SECONDS
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(("text", "count"), [("why does it work " * 11_000, 5), ("why " * 600, 64), ("a", 2_048)])
def test_no_embedding_of_a_callers_holds_others_up(host: Host, text: str, count: int) -> None:
    body = {"model": "wordllama-256", "input": [text] * count}
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(host.http.post("/v1/embeddings", json=body, timeout=60))

    assert stall_of(host, ask) < MOST_STALL_SECONDS
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize("piece", ["[1]", "[1, 2] ", "```json\n", "😀", "<chunk>"])
def test_no_long_answer_of_a_providers_holds_others_up(host: Host, provider_server: Simulated, piece: str) -> None:
    provider_server.will(always=Behaviour(text=(piece * 400_000)[:900_000]))
    body = {"variables": {"question": "why?"}, "context": "Because."}
    answers: list[httpx.Response] = []
    url = "/prompts/talk/invocations"
    assert stall_of(host, lambda: answers.append(host.http.post(url, json=body, timeout=60))) < MOST_STALL_SECONDS
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Alias": "x" * 60_000},
        {"X-Alias": "Ünï".encode().decode("latin-1")},
        {"X-Session-Id": "y" * 60_000},
        {"X-Request-Id": "z" * 60_000},
        {"traceparent": "00-" + "f" * 60_000},
        {"traceparent": "00-" + "g" * 32 + "-" + "0" * 16 + "-01"},
        {"tracestate": "a=b," * 10_000},
        {"Content-Type": "application/json; charset=utf-7"},
        {"Content-Encoding": "gzip"},
        {"X-MLflow-Timestamp": "9" * 5_000},
        {"X-MLflow-Timestamp": "٣" * 20},
    ],
)
def test_no_header_is_an_error_of_the_servers(host: Host, headers: dict[str, str]) -> None:
    for route in ROUTES:
        sent = {"Content-Type": "application/json", **headers}
        raw = [(name.encode(), value.encode("utf-8")) for name, value in sent.items()]
        try:
            answer = host.http.post(route, content=b'{"text_input": "why?"}', headers=raw)
        except httpx.RemoteProtocolError:
            continue  # the connection was closed without an answer: that is no HTTP
        assert answer.status_code < 500, answer.text


def test_values_are_counted_outside_of_texts() -> None:
    check_values(json.dumps({"text": 'a, b, [c], {d}, "e", ' * 20_000}).encode())
    check_values(json.dumps(["x"] * (MOST_VALUES - 1)).encode())
    for body in (
        json.dumps(["x"] * (MOST_VALUES + 1)).encode(),
        b"[" * (MOST_VALUES + 1),
        b'"' * 900_000 + b"," * 90_000,
    ):
        with pytest.raises(TooLarge):
            check_values(body)
