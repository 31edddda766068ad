"""The three providers over HTTP against the simulated outside: what they send, what they read, how they fail."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress
from typing import Any

import pytest

from mlflow_project import answering
from mlflow_project.answering import WarmRelease
from mlflow_project.domain.answer import Answer, Usage
from mlflow_project.domain.release import Message
from mlflow_project.errors import ConfigError, ProviderError
from tests.answering.conftest import Run
from tests.answering.releases import KEY, providers_for, release, settings_for
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated

NAMES = ("gemini", "openai", "anthropic")
QUESTION = {"question": "Why does the moon not fall down on us?"}


def warmed(name: str, provider: Simulated, key: str | None = KEY, **pinned: Any) -> WarmRelease:
    providers = providers_for(settings_for(provider.url_for(name), key))
    return answering.warm(release(name, **pinned), index_folder=None, scratch=None, providers=providers)  # type: ignore[arg-type]


async def asked(warm: WarmRelease) -> Answer:
    try:
        return await answering.answer(warm, QUESTION)
    finally:
        await warm.aclose()


async def streamed(warm: WarmRelease) -> list[str | Answer]:
    try:
        return [piece async for piece in answering.stream(warm, QUESTION)]
    finally:
        await warm.aclose()


def failure(run: Run[Any], name: str, provider: Simulated, **pinned: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        run(asked(warmed(name, provider, **pinned)))
    return caught.value


def test_gemini_is_asked_with_system_instruction_configuration_and_the_key_in_a_header(
    run: Run[Any], provider_server: Simulated
) -> None:
    pinned = {"temperature": 0.1, "max_tokens": 50, "thinkingConfig": {"thinkingBudget": 0}}
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "additionalProperties": False}
    provider_server.will(Behaviour(text='{"a": null}'))
    answer = run(asked(warmed("gemini", provider_server, parameters=pinned, response_schema=schema)))
    request = provider_server.requests[0]
    assert answer.object == {"a": None}
    assert request.path == "/v1beta/models/model-of-the-release:generateContent"
    assert request.headers["x-goog-api-key"] == KEY
    assert KEY not in request.path + request.query
    assert request.body["systemInstruction"] == {"parts": [{"text": "Answer from the chunks."}]}
    assert request.body["contents"] == [{"role": "user", "parts": [{"text": QUESTION["question"]}]}]
    assert request.body["generationConfig"] == {
        "temperature": 0.1,
        "maxOutputTokens": 50,
        "thinkingConfig": {"thinkingBudget": 0},
        "responseMimeType": "application/json",
        "responseSchema": {"type": "object", "properties": {"a": {"type": "string", "nullable": True}}},
    }


def test_openai_is_asked_with_roles_options_schema_and_a_bearer(run: Run[Any], provider_server: Simulated) -> None:
    schema = {"type": "object"}
    provider_server.will(Behaviour(text="{}"))
    run(asked(warmed("openai", provider_server, parameters={"seed": 7}, response_schema=schema)))
    request = provider_server.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert [message["role"] for message in request.body["messages"]] == ["system", "user"]
    assert request.body["seed"] == 7
    assert request.body["response_format"]["json_schema"]["schema"] == schema


def test_anthropic_is_asked_with_version_system_text_limit_schema_and_the_key_in_a_header(
    run: Run[Any], provider_server: Simulated
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}}
    provider_server.will(Behaviour(text='{"a": 4}'))
    answer = run(asked(warmed("anthropic", provider_server, parameters={"stop": "END"}, response_schema=schema)))
    request = provider_server.requests[0]
    assert answer.object == {"a": 4}
    assert request.path == "/v1/messages"
    assert (request.headers["x-api-key"], request.headers["anthropic-version"]) == (KEY, "2023-06-01")
    taken = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    assert request.body == {
        "model": "model-of-the-release",
        "max_tokens": 4096,
        "stop_sequences": ["END"],
        "system": "Answer from the chunks.",
        "messages": [{"role": "user", "content": QUESTION["question"]}],
        "output_config": {"format": {"type": "json_schema", "schema": taken}},
    }


def test_openai_without_a_key_sends_none_and_gemini_without_a_key_is_not_made(
    run: Run[Any], provider_server: Simulated
) -> None:
    run(asked(warmed("openai", provider_server, key=None)))
    assert "authorization" not in provider_server.requests[0].headers
    with pytest.raises(ConfigError, match="LLM_API_KEY"):
        warmed("gemini", provider_server, key=None)


@pytest.mark.parametrize("name", NAMES)
def test_a_key_with_a_line_break_is_refused_when_the_release_is_made_ready(
    provider_server: Simulated, name: str
) -> None:
    with pytest.raises(ConfigError, match="line break") as caught:
        warmed(name, provider_server, key=f"{KEY}\nx-more: 1")
    assert KEY not in str(caught.value)


def test_an_address_of_the_other_protocol_is_refused_before_any_request(provider_server: Simulated) -> None:
    gemini, openai = provider_server.gemini_url, provider_server.openai_url
    for name, url in (("gemini", openai), ("openai", gemini), ("anthropic", gemini)):
        with pytest.raises(ConfigError, match="LLM_API_URL"):
            answering.warm(release(name), index_folder=None, scratch=None, providers=providers_for(settings_for(url)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_thoughts_are_counted_and_never_shown(run: Run[Any], provider_server: Simulated, name: str) -> None:
    behaviour = Behaviour(input_tokens=100, output_tokens=20, thought_tokens=30, cached_tokens=40)
    provider_server.will(behaviour, behaviour)
    answer = run(asked(warmed(name, provider_server)))
    pieces = run(streamed(warmed(name, provider_server)))
    assert answer.text == "".join(pieces[:-1]) == "A simulated answer."
    assert answer.usage == pieces[-1].usage == Usage(100, 20, 30, 40, 150)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["no_candidates", "safety", "blocked_prompt"])
def test_no_candidate_is_an_answer_without_text(
    run: Run[Any], provider_server: Simulated, name: str, fault: Any
) -> None:
    provider_server.will(always=Behaviour(fault=fault))
    answer = run(asked(warmed(name, provider_server)))
    *pieces, last = run(streamed(warmed(name, provider_server)))
    assert answer.text is None
    assert pieces == []
    assert last.text is None
    if fault == "safety":
        assert answer.finish_reason == last.finish_reason in {"SAFETY", "content_filter", "refusal"}


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_cut_at_every_byte_says_the_same_text(run: Run[Any], provider_server: Simulated, name: str) -> None:
    text = "Grüße, 世界 🌍: l’été naît à l’aube.\nZweite Zeile."
    provider_server.will(always=Behaviour(text=text, pieces=7, piece_bytes=1))
    *pieces, last = run(streamed(warmed(name, provider_server)))
    assert "".join(pieces) == last.text == text
    assert len(pieces) == 7


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(run: Run[Any], provider_server: Simulated, name: str, status: int) -> None:
    provider_server.will(Behaviour(status=status), Behaviour(fault="drop"))
    assert run(asked(warmed(name, provider_server))).text == "A simulated answer."
    assert provider_server.script.count == 3


def test_retry_after_is_honoured(run: Run[Any], provider_server: Simulated) -> None:
    provider_server.will(Behaviour(status=429, retry_after="1"))
    began = time.monotonic()
    run(asked(warmed("gemini", provider_server)))
    assert time.monotonic() - began >= 1
    assert provider_server.script.count == 2


def test_a_retry_after_beyond_the_time_is_told_and_not_waited_for(run: Run[Any], provider_server: Simulated) -> None:
    provider_server.will(Behaviour(status=429, retry_after="60", message="Quota exceeded."))
    error = failure(run, "gemini", provider_server)
    assert (error.status, error.retry_after, str(error)) == (429, 60, "Quota exceeded.")
    assert provider_server.script.count == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_not_tried_again(run: Run[Any], provider_server: Simulated, status: int) -> None:
    provider_server.will(always=Behaviour(status=status, message="No."))
    error = failure(run, "openai", provider_server)
    assert (error.kind, error.status, str(error)) == ("http_error", status, "No.")
    assert provider_server.script.count == 1


def test_a_complaint_repeats_neither_key_nor_prompt(run: Run[Any], provider_server: Simulated) -> None:
    provider_server.will(
        Behaviour(status=400, message=f"Bad key {KEY}"),
        Behaviour(status=400, message=f"Cannot answer: {QUESTION['question'][:30]}"),
        Behaviour(status=400, message="Write to ada@example.org  \n about it"),
    )
    assert str(failure(run, "gemini", provider_server)) == "Bad key [key]"
    assert str(failure(run, "gemini", provider_server)) == "Bad Request"
    assert str(failure(run, "gemini", provider_server)) == "Write to [email] about it"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["half_json", "wrong_type"])
def test_no_json_is_named_and_not_paid_for_twice(
    run: Run[Any], provider_server: Simulated, name: str, fault: Any
) -> None:
    provider_server.will(always=Behaviour(fault=fault))
    assert failure(run, name, provider_server).kind == "invalid_json"
    assert provider_server.script.count == 1


@pytest.mark.parametrize("fault", ["drop", "cut", "nonsense"])
def test_a_broken_connection_is_tried_again_and_then_named(
    run: Run[Any], provider_server: Simulated, fault: Any
) -> None:
    provider_server.will(always=Behaviour(fault=fault))
    assert failure(run, "gemini", provider_server).kind == "transport"
    assert provider_server.script.count == 3


def test_nobody_at_the_address_is_a_transport_error(run: Run[Any]) -> None:
    settings = providers_for(settings_for("http://127.0.0.1:9/v1"))
    warm = answering.warm(release("openai"), index_folder=None, scratch=None, providers=settings)  # type: ignore[arg-type]
    with pytest.raises(ProviderError) as caught:
        run(asked(warm))
    assert caught.value.kind == "transport"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["cut", "unended", "error_event", "half_json"])
def test_a_stream_that_breaks_after_its_first_piece_is_an_error_and_no_second_try(
    run: Run[Any], provider_server: Simulated, name: str, fault: Any
) -> None:
    provider_server.will(always=Behaviour(fault=fault, pieces=6, pause_ms=5))
    with pytest.raises(ProviderError):
        run(streamed(warmed(name, provider_server)))
    assert provider_server.script.count == 1


@pytest.mark.parametrize("fault", ["drop", None])
def test_a_stream_that_has_not_begun_is_tried_again(run: Run[Any], provider_server: Simulated, fault: Any) -> None:
    provider_server.will(Behaviour(fault=fault, status=200 if fault else 503))
    *pieces, _ = run(streamed(warmed("gemini", provider_server)))
    assert "".join(pieces) == "A simulated answer."
    assert provider_server.script.count == 2


@pytest.mark.parametrize(
    ("patience", "behaviour"),
    [
        ({"first_byte_seconds": 0.2}, Behaviour(fault="hang")),
        ({"between_bytes_seconds": 0.2}, Behaviour(piece_bytes=20, pause_ms=600)),
        ({"total_seconds": 0.5}, Behaviour(piece_bytes=1, pause_ms=50)),
    ],
)
def test_a_slow_provider_is_given_up(
    run: Run[Any], provider_server: Simulated, patience: dict[str, float], behaviour: Behaviour
) -> None:
    provider_server.will(always=behaviour)
    began = time.monotonic()
    assert failure(run, "gemini", provider_server, parameters={"tries": 1, **patience}).kind == "timeout"
    assert time.monotonic() - began < 5


def test_a_reader_who_takes_their_time_does_not_count_against_the_provider(
    run: Run[Any], provider_server: Simulated
) -> None:
    async def slowly() -> list[str | Answer]:
        warm = warmed("openai", provider_server, parameters={"between_bytes_seconds": 0.3, "tries": 1})
        pieces: list[str | Answer] = []
        async for piece in answering.stream(warm, QUESTION):
            pieces.append(piece)
            await asyncio.sleep(0.4)
        await warm.aclose()
        return pieces

    provider_server.will(always=Behaviour(pieces=3, pause_ms=5))
    assert len(run(slowly())) == 4


@pytest.mark.parametrize("name", NAMES)
def test_a_caller_who_leaves_takes_the_provider_along(run: Run[Any], provider_server: Simulated, name: str) -> None:
    async def leaves_while_waiting() -> None:
        task = asyncio.create_task(asked(warmed(name, provider_server)))
        await until(lambda: provider_server.script.running == 1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await until(lambda: provider_server.script.running == 0)

    async def leaves_in_mid_stream() -> None:
        warm = warmed(name, provider_server)
        async with aclosing(answering.stream(warm, QUESTION)) as pieces:
            assert await anext(pieces)
        await until(lambda: provider_server.script.running == 0)
        await warm.aclose()

    provider_server.will(Behaviour(fault="hang"), Behaviour(pieces=4, pause_ms=1_500))
    run(leaves_while_waiting())
    run(leaves_in_mid_stream())
    assert [request.left for request in provider_server.requests] == [True, True]


async def until(holds: Any) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.01)


def test_connections_are_kept_and_used_again(run: Run[Any], provider_server: Simulated) -> None:
    async def three() -> None:
        warm = warmed("gemini", provider_server)
        for _ in range(3):
            await answering.answer(warm, QUESTION)
        await warm.aclose()

    run(three())
    assert len({request.connection for request in provider_server.requests}) == 1


def test_history_goes_out_as_turns_before_the_question(run: Run[Any], provider_server: Simulated) -> None:
    async def with_history() -> None:
        warm = warmed("gemini", provider_server)
        turns = (Message("user", "Hello"), Message("assistant", "Good day"))
        await answering.answer(warm, QUESTION, history=turns)
        await warm.aclose()

    run(with_history())
    roles = [turn["role"] for turn in provider_server.requests[0].body["contents"]]
    assert roles == ["user", "model", "user"]
