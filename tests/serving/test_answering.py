"""The routes over a simulated provider: what comes back, what an error says, and what it never says."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from mlflow_project.adapters.retrieval import index_builder
from mlflow_project.adapters.retrieval.index_files import write_manifest
from mlflow_project.adapters.retrieval.specification import Embedder, Reranker
from mlflow_project.domain.release import KnowledgeBase, Message, ProviderChoice, Retrieval
from tests.provider.behaviour import Behaviour
from tests.provider.embedding_wire import vector
from tests.provider.fixtures import Simulated
from tests.serving.conftest import Host, until
from tests.serving.snapshots import MOOD_SCHEMA, Snapshots, released

__all__ = ["released"]

TEXT = "A rollback moves the alias back to the version before."
SIMULATED = ProviderChoice("openai", "simulated-1", {"tries": 1, "first_byte_seconds": 4.0})


@pytest.fixture(scope="module")
def host(released: Snapshots, provider_process: Simulated) -> Iterator[Host]:
    released.seal("chat", "Be brief.", provider=SIMULATED)
    template = (Message("system", "Say which."), Message("user", "{{text}}"))
    released.seal("mood", provider=SIMULATED, response_schema=MOOD_SCHEMA, template=template)
    for name in ("chat", "mood"):
        released.point(name, 1)
    settings = {
        "LLM_API_URL": provider_process.openai_url,
        "LLM_API_KEY": "provider-secret-0123456789",
        "SWITCHYARD_DEFAULT_PROMPT": "chat",
        "SWITCHYARD_LOG_TEXTS": "true",
    }
    running = released.host(**settings)
    running.start_server()
    yield running
    running.stop()


@pytest.fixture
def client(host: Host) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{host.port}/v1", api_key="none", max_retries=0)


def query(host: Host, text: str = "why?", **more: str) -> httpx.Response:
    return host.http.post("/llm-query/", json={"text_input": text, **more})


def test_llm_query_answers_in_exactly_its_form(host: Host, provider_server: Simulated) -> None:
    answer = query(host)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert list(body) == ["original_input", "generated_text", "tokens_used", "processing_time_ms"]
    assert (body["original_input"], body["generated_text"], body["tokens_used"]) == ("why?", "A simulated answer.", 17)
    assert body["processing_time_ms"] > 0
    assert answer.headers["X-Release"] == "chat/1"


def test_a_given_context_stands_before_the_question(host: Host, provider_server: Simulated) -> None:
    query(host, "why?", context="Because.")
    assert provider_server.requests[0].body["messages"][-1]["content"] == "Context: Because.\n\nQuery: why?"


def test_the_question_goes_into_the_slot_that_the_template_has_for_it(
    host: Host, released: Snapshots, provider_server: Simulated
) -> None:
    other = released.host(
        **{**{name: host.env[name] for name in ("LLM_API_URL",)}, "SWITCHYARD_DEFAULT_PROMPT": "mood"}
    )
    other.start_server()
    try:
        provider_server.will(Behaviour(text='{"label": "positive"}'))
        assert query(other, "Lovely.").json()["generated_text"] == '{"label": "positive"}'
        assert provider_server.requests[0].body["messages"][-1]["content"] == "Lovely."
        provider_server.will(Behaviour(text='{"label": "purple"}'))
        answer = query(other, "Lovely.")
        assert answer.status_code == 500
        assert answer.json()["detail"].startswith(
            "An unexpected error during LLM query: The answer breaks the response"
        )
    finally:
        other.stop()


@pytest.mark.parametrize(
    ("behaviour", "status", "detail"),
    [
        (Behaviour(status=429, message="slow down"), 429, "LLM API HTTP Error: 429 - "),
        (Behaviour(status=503), 503, "LLM API HTTP Error: 503 - "),
        (Behaviour(status=401), 401, "LLM API HTTP Error: 401 - "),
        (Behaviour(fault="drop"), 500, "LLM API Request Error: "),
        (Behaviour(fault="hang"), 500, "LLM API Request Error: "),
        (Behaviour(fault="half_json"), 500, "Invalid JSON response from LLM API."),
        (Behaviour(fault="wrong_type"), 500, "Invalid JSON response from LLM API."),
    ],
)
def test_llm_query_names_what_the_provider_did(
    host: Host, provider_server: Simulated, behaviour: Behaviour, status: int, detail: str
) -> None:
    provider_server.will(behaviour)
    answer = query(host, "my very own question")
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(detail)
    assert "provider-secret" not in answer.text
    assert "my very own question" not in answer.text
    assert answer.headers["X-Release"] == "chat/1"


def test_no_candidates_is_an_answer(host: Host, provider_server: Simulated) -> None:
    provider_server.will(Behaviour(fault="no_candidates"))
    answer = query(host)
    assert (answer.status_code, answer.json()["generated_text"]) == (200, "No response from LLM.")


@pytest.mark.parametrize("body", [{}, {"text_input": 3}, {"text_input": ""}, {"text_input": "x", "more": 1}, []])
def test_a_wrong_body_is_422(host: Host, body: Any) -> None:
    assert host.http.post("/llm-query/", json=body).status_code == 422


def test_a_missing_and_a_surplus_variable_are_named(host: Host) -> None:
    answer = host.http.post("/prompts/chat/invocations", json={"variables": {"topic": "x"}})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "question" in answer.json()["detail"]
    assert "topic" in answer.json()["detail"]


def test_a_prompt_with_a_schema_gives_a_valid_object(host: Host, provider_server: Simulated) -> None:
    provider_server.will(Behaviour(text='{"label": "positive"}'))
    answer = host.http.post("/prompts/mood/invocations", json={"variables": {"text": "Lovely."}})
    assert answer.json()["object"] == {"label": "positive"}
    provider_server.will(always=Behaviour(text='{"label": "purple"}'))
    answer = host.http.post("/prompts/mood/invocations", json={"variables": {"text": "Lovely."}})
    assert answer.status_code == 502
    assert "label" in answer.json()["detail"]


def test_the_openai_client_chats(client: openai.OpenAI, provider_server: Simulated) -> None:
    turns = [
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Me."},
        {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
    ]
    answer = client.chat.completions.create(model="chat", messages=turns)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "A simulated answer."
    assert answer.model == "chat/1"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (12, 5, 17)
    sent = provider_server.requests[0].body["messages"]
    assert [turn["content"] for turn in sent] == ["Be brief.", "Who?", "Me.", "Why?"]


def test_the_openai_client_streams_with_usage(client: openai.OpenAI, provider_server: Simulated) -> None:
    provider_server.will(Behaviour(text="Grüße aus Zürich, 東京!", piece_bytes=7))
    events = list(
        client.chat.completions.create(
            model="chat@Production",
            messages=[{"role": "user", "content": "Hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert text == "Grüße aus Zürich, 東京!"
    assert [event.choices[0].finish_reason for event in events if event.choices][-1] == "stop"
    assert events[-1].usage is not None
    assert events[-1].usage.total_tokens == 17


def test_the_openai_client_gets_structured_output(client: openai.OpenAI, provider_server: Simulated) -> None:
    class Mood(BaseModel):
        label: str

    provider_server.will(Behaviour(text='{"label": "negative"}'))
    answer = client.chat.completions.parse(
        model="mood", messages=[{"role": "user", "content": "Bad."}], response_format=Mood
    )
    assert answer.choices[0].message.parsed == Mood(label="negative")
    with pytest.raises(openai.BadRequestError, match="no response schema"):
        client.chat.completions.parse(model="chat", messages=[{"role": "user", "content": "x"}], response_format=Mood)


def test_the_openai_clients_errors_are_its_own(client: openai.OpenAI, provider_server: Simulated) -> None:
    ask = [{"role": "user", "content": "x"}]
    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.chat.completions.create(model="nobody", messages=ask)  # type: ignore[arg-type]
    system = [{"role": "system", "content": "Be rude."}, *ask]
    with pytest.raises(openai.BadRequestError, match="system"):
        client.chat.completions.create(model="chat", messages=system)  # type: ignore[arg-type]
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="chat", messages=image)  # type: ignore[arg-type]
    provider_server.will(Behaviour(status=429))
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="chat", messages=ask)  # type: ignore[arg-type]
    provider_server.will(Behaviour(status=500))
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="chat", messages=ask, stream=True)  # type: ignore[arg-type]


def test_a_stream_that_breaks_ends_with_an_error_and_no_done(host: Host, provider_server: Simulated) -> None:
    provider_server.will(Behaviour(fault="cut", text="A long enough answer", pieces=6))
    body = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    events = [line for line in host.http.post("/v1/chat/completions", json=body).text.splitlines() if line]
    assert "error" in json.loads(events[-1].removeprefix("data: "))
    assert "data: [DONE]" not in events


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert {"chat", "chat@Production", "mood"} <= {model.id for model in client.models.list()}


def test_a_version_is_asked_by_its_number(client: openai.OpenAI, provider_server: Simulated) -> None:
    answer = client.chat.completions.create(model="chat/1", messages=[{"role": "user", "content": "x"}])
    assert answer.model == "chat/1"
    with pytest.raises(openai.NotFoundError, match="chat/99 is live under no alias"):
        client.chat.completions.create(model="chat/99", messages=[{"role": "user", "content": "x"}])


def test_a_stream_ends_on_the_release_it_began_with(
    host: Host, released: Snapshots, provider_server: Simulated
) -> None:
    released.seal("midway", "one", provider=SIMULATED)
    released.seal("midway", "two", provider=SIMULATED)
    released.point("midway", 1)
    host.serves("midway", 1)
    provider_server.will(Behaviour(text="x" * 60, pieces=60, pause_ms=50), always=Behaviour())
    body = {"model": "midway", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    with host.http.stream("POST", "/v1/chat/completions", json=body) as stream:
        assert stream.headers["X-Release"] == "midway/1"
        released.point("midway", 2)
        other = Host(host.folder)
        other.http = httpx.Client(base_url=f"http://127.0.0.1:{host.port}")
        other.serves("midway", 2)
        lines = [line for line in stream.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert {json.loads(line[6:])["model"] for line in lines[:-1]} == {"midway/1"}


def test_the_provider_is_told_when_the_caller_leaves(host: Host, provider_server: Simulated) -> None:
    provider_server.will(Behaviour(latency_ms=900))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"http://127.0.0.1:{host.port}/llm-query/", json={"text_input": "x"}, timeout=0.3)
    until(lambda: provider_server.requests[0].left, "the provider sees the connection closed", 0.55)


def test_what_is_logged_is_masked(host: Host, provider_server: Simulated) -> None:
    provider_server.will(Behaviour(text="Write to anna@example.com."))
    query(host, "My card is 4111 1111 1111 1111, my key is sk-abcdefghijklmnop1234.")
    until(lambda: "Write to [email]." in host.log("server"), "the event is logged")
    log = host.log("server")
    assert "My card is [card], my key is [key]." in log
    assert "anna@example.com" not in log
    assert "4111 1111" not in log  # four digits alone stand in many a trace id


def test_the_request_id_and_security_headers_are_on_every_answer(host: Host) -> None:
    answer = host.http.get("/releases", headers={"X-Request-Id": "abc-123"})
    assert answer.headers["X-Request-Id"] == "abc-123"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for unfit in ("b a d", "sk-proj-abcdefghij0123456789", "078-05-1120"):
        assert len(host.http.get("/nope", headers={"X-Request-Id": unfit}).headers["X-Request-Id"]) == 32


def test_a_running_request_is_finished_when_the_server_is_told_to_stop(
    provider_server: Simulated, host: Host, released: Snapshots
) -> None:
    other = released.host(**{name: host.env[name] for name in ("LLM_API_URL", "SWITCHYARD_DEFAULT_PROMPT")})
    other.start_server()
    try:
        provider_server.will(always=Behaviour(latency_ms=800))
        answers: list[int] = []
        asking = threading.Thread(target=lambda: answers.append(query(other).status_code))
        asking.start()
        until(lambda: provider_server.script.running == 1, "the provider was asked")
        assert other.server is not None
        other.server.terminate()
        asking.join()
        assert answers == [200]
        assert other.server.wait(10) in {0, -signal.SIGTERM}
    finally:
        other.stop()


def test_a_header_says_when_an_endpoint_of_the_index_failed(
    host: Host, released: Snapshots, provider_server: Simulated, tmp_path: Path
) -> None:
    """The answer itself is quoted, so that only the endpoint of the embeddings and the reranker can fail."""
    index = Embedder(kind="openai", model="small")
    rows = [
        (
            {"chunk_id": "1", "document_id": "d", "title": "", "text": TEXT, "start": 0, "end": len(TEXT)},
            vector(TEXT, 32),
        )
    ]
    index_builder.build(tmp_path / "built", rows, None)
    described = {"vectors": index.to_data(), "reranker": Reranker("endpoint", "rerank-1").to_data()}
    digest = write_manifest(tmp_path / "built", {"specification": described})
    shutil.copytree(tmp_path / "built", released.path / "indexes" / digest.removeprefix("sha256:"))
    knowledge = KnowledgeBase("s3a://curated-data-bucket/docs", 1, digest)
    retrieval = Retrieval(1, words_weight=1.0, vectors_weight=1.0, fusion="scores", rerank=2)
    released.seal("handbook", knowledge_base=knowledge, retrieval=retrieval)
    released.point("handbook", 1)
    host.serves("handbook", 1)
    assert "X-Retrieval" not in host.ask("handbook", "What does a rollback move?").headers
    provider_server.will(always=Behaviour(status=401))
    answer = host.ask("handbook", "What does a rollback move?")
    assert answer.status_code == 200
    assert "alias" in answer.text
    assert answer.headers["X-Retrieval"] == "words, not-reranked"
