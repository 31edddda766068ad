"""Tools over TCP: what the providers send, what they read, whole and streamed, and what a release allows."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_project import answering
from mlflow_project.answering import CallOptions, WarmRelease
from mlflow_project.domain.answer import Answer
from mlflow_project.domain.release import CallerOptions
from mlflow_project.domain.tools import ToolCall, ToolCallPiece, ToolChoice, ToolRequest, ToolResult, joined
from mlflow_project.errors import InvalidData
from tests.answering.conftest import Run
from tests.answering.test_providers_over_tcp import NAMES, warmed
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated

ASKED = {"question": "What is the weather in Oslo?"}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Now.", "parameters": PARAMETERS}}
CALLS = Behaviour(tool_calls=(("weather", '{"city":"Oslo"}'), ("weather", '{"city":"Rome"}')))
OPEN = CallerOptions({"temperature": (0.0, 1.0), "max_tokens": (1.0, 9.0)}, tools=True)
BROUGHT = CallOptions(tools=ToolChoice((WEATHER,), "required"))


async def ask(warm: WarmRelease, options: CallOptions) -> Answer:
    try:
        return await answering.answer(warm, ASKED, options=options)
    finally:
        await warm.aclose()


async def stream(warm: WarmRelease, options: CallOptions) -> list[str | ToolCallPiece | Answer]:
    try:
        return [piece async for piece in answering.stream(warm, ASKED, options=options)]
    finally:
        await warm.aclose()


def plain(calls: tuple[ToolCall, ...]) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in calls]


@pytest.mark.parametrize("name", NAMES)
def test_tool_calls_come_back_whole(run: Run[Any], provider_server: Simulated, name: str) -> None:
    provider_server.will(CALLS)
    answer = run(ask(warmed(name, provider_server, callers=OPEN), BROUGHT))
    assert answer.text is None
    assert plain(answer.tool_calls) == list(CALLS.tool_calls)
    assert len({call.id for call in answer.tool_calls}) == 2
    assert answer.finish_reason == "tool_calls"


@pytest.mark.parametrize("name", NAMES)
def test_streamed_pieces_of_tool_calls_join_to_the_whole(run: Run[Any], provider_server: Simulated, name: str) -> None:
    provider_server.will(CALLS)
    *pieces, answer = run(stream(warmed(name, provider_server, callers=OPEN), BROUGHT))
    assert isinstance(answer, Answer)
    assert all(isinstance(piece, ToolCallPiece) for piece in pieces)
    assert joined([piece for piece in pieces if isinstance(piece, ToolCallPiece)]) == answer.tool_calls
    assert plain(answer.tool_calls) == list(CALLS.tool_calls)


def test_openai_gets_the_releases_tools_and_the_callers(run: Run[Any], provider_server: Simulated) -> None:
    own = {"type": "function", "function": {"name": "own"}}
    warm = warmed("openai", provider_server, tools=(own,), callers=OPEN)
    run(ask(warm, CallOptions(tools=ToolChoice((WEATHER,), {"type": "function"}, parallel=False))))
    body = provider_server.requests[0].body
    assert body["tools"] == [own, WEATHER]
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ({"type": "function"}, False)


def test_anthropic_gets_them_with_an_input_schema_and_its_own_choice(run: Run[Any], provider_server: Simulated) -> None:
    named = ToolChoice((WEATHER,), {"type": "function", "function": {"name": "weather"}}, parallel=False)
    run(ask(warmed("anthropic", provider_server, callers=OPEN), BROUGHT))
    run(ask(warmed("anthropic", provider_server, callers=OPEN), CallOptions(tools=named)))
    free, one = (request.body for request in provider_server.requests)
    assert free["tools"] == [{"name": "weather", "description": "Now.", "input_schema": PARAMETERS}]
    assert free["tool_choice"] == {"type": "any"}
    assert one["tool_choice"] == {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}


def test_gemini_gets_them_as_function_declarations(run: Run[Any], provider_server: Simulated) -> None:
    run(ask(warmed("gemini", provider_server, callers=OPEN), BROUGHT))
    body = provider_server.requests[0].body
    kept = {"type": "object", "properties": {"city": {"type": "string"}}}
    assert body["tools"] == [{"functionDeclarations": [{"name": "weather", "description": "Now.", "parameters": kept}]}]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}


@pytest.mark.parametrize("name", NAMES)
def test_results_of_tools_follow_the_question(run: Run[Any], provider_server: Simulated, name: str) -> None:
    call = ToolCall("call_7", "weather", '{"city": "Oslo"}')
    following = (ToolRequest("assistant", "", (call,)), ToolResult("tool", "Rain.", "call_7", "weather"))
    run(ask(warmed(name, provider_server, callers=OPEN), CallOptions(following=following)))
    body = provider_server.requests[0].body
    if name == "openai":
        assert body["messages"][-2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": call.arguments}
        assert body["messages"][-1] == {"role": "tool", "content": "Rain.", "tool_call_id": "call_7"}
    elif name == "anthropic":
        called = {"type": "tool_use", "id": "call_7", "name": "weather", "input": {"city": "Oslo"}}
        assert body["messages"][-2] == {"role": "assistant", "content": [called]}
        result = {"type": "tool_result", "tool_use_id": "call_7", "content": "Rain."}
        assert body["messages"][-1] == {"role": "user", "content": [result]}
    else:
        assert body["contents"][-2]["parts"] == [{"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}]
        assert body["contents"][-1]["parts"] == [
            {"functionResponse": {"name": "weather", "response": {"result": "Rain."}}}
        ]


@pytest.mark.parametrize(("name", "limit"), [("openai", "max_tokens"), ("gemini", "maxOutputTokens")])
def test_overrides_take_the_place_of_pinned_parameters(
    run: Run[Any], provider_server: Simulated, name: str, limit: str
) -> None:
    warm = warmed(name, provider_server, callers=OPEN, parameters={"temperature": 0.5, "max_tokens": 7})
    run(ask(warm, CallOptions(overrides={"temperature": 0.1, "max_tokens": 3})))
    body = provider_server.requests[0].body
    options = body if name == "openai" else body["generationConfig"]
    assert (options["temperature"], options[limit]) == (0.1, 3)


def test_a_release_that_allows_no_tools_refuses_them(run: Run[Any], provider_server: Simulated) -> None:
    with pytest.raises(InvalidData, match="qa/1 takes no tools from a caller"):
        run(ask(warmed("openai", provider_server), BROUGHT))


def test_gemini_refuses_arguments_that_are_not_json(run: Run[Any], provider_server: Simulated) -> None:
    following = (ToolRequest("assistant", "", (ToolCall("call_7", "weather", "{"),)),)
    with pytest.raises(InvalidData, match="arguments of the tool call 'call_7' are not JSON"):
        run(ask(warmed("gemini", provider_server, callers=OPEN), CallOptions(following=following)))
