"""Anthropic's protocol where it differs from the others: schemas, turns, events, errors inside of a stream."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_project.adapters.providers import Providers
from mlflow_project.adapters.providers.anthropic import MAX_TOKENS, Anthropic, _Reading, anthropic_schema
from mlflow_project.adapters.providers.protocol import ProviderRequest
from mlflow_project.domain.answer import Completion, Usage
from mlflow_project.domain.release import Message, ProviderChoice
from mlflow_project.domain.tools import ToolCall, ToolRequest, ToolResult
from mlflow_project.errors import InvalidData, ProviderError
from mlflow_project.settings import ProviderSettings

HELLO = Message("user", "Hello")


def provider(**parameters: Any) -> Anthropic:
    made = Providers(ProviderSettings(llm_api_url="http://x")).provider_for(
        ProviderChoice("anthropic", "m", parameters)
    )
    assert isinstance(made, Anthropic)
    return made


def body(*messages: Message, **asked: Any) -> dict[str, Any]:
    return provider().body(ProviderRequest(messages, **asked), streamed=False)


def read(*events: dict[str, Any]) -> Completion:
    reading = _Reading()
    for event in events:
        reading.add(event)
    return reading.completion()


def test_a_schema_loses_what_the_api_does_not_know_and_closes_every_object() -> None:
    inner = {"type": "object", "properties": {"n": {"type": "number", "minimum": 0}}, "additionalProperties": True}
    schema = {
        "$schema": "x",
        "type": "object",
        "properties": {
            "a": {"type": "string", "minLength": 3, "format": "email"},
            "b": {"type": "array", "items": inner, "maxItems": 4},
            "c": {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/d"}]},
            "e": {"type": "string", "format": "made-up", "pattern": "a+"},
        },
        "$defs": {"d": inner},
        "required": ["a"],
    }
    closed = {"type": "object", "properties": {"n": {"type": "number"}}, "additionalProperties": False}
    assert anthropic_schema(schema) == {
        "type": "object",
        "properties": {
            "a": {"type": "string", "format": "email"},
            "b": {"type": "array", "items": closed},
            "c": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/d"}]},
            "e": {"type": "string"},
        },
        "$defs": {"d": closed},
        "required": ["a"],
        "additionalProperties": False,
    }


def test_system_messages_go_into_a_field_of_their_own_and_a_limit_of_tokens_is_always_sent() -> None:
    sent = body(Message("system", "Be brief."), Message("system", "Be kind."), HELLO)
    assert sent["system"] == "Be brief.\n\nBe kind."
    assert sent["messages"] == [{"role": "user", "content": "Hello"}]
    assert sent["max_tokens"] == MAX_TOKENS
    assert "system" not in body(HELLO)
    assert body(HELLO, overrides={"max_tokens": 7, "stop": "END"})["stop_sequences"] == ["END"]


def test_a_callers_parameter_that_the_api_does_not_have_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidData, match="no parameter seed"):
        body(HELLO, overrides={"seed": 7, "temperature": 0.5})


def test_results_of_tools_that_were_asked_for_together_are_one_turn() -> None:
    calls = (ToolCall("a", "f", "{}"), ToolCall("b", "g", '{"x": 1}'))
    asked = ToolRequest("assistant", "I look.", calls)
    sent = body(HELLO, asked, ToolResult("tool", "1", "a", "f"), ToolResult("tool", "2", "b", "g"))["messages"]
    assert [turn["role"] for turn in sent] == ["user", "assistant", "user"]
    assert [block["type"] for block in sent[1]["content"]] == ["text", "tool_use", "tool_use"]
    assert [block["tool_use_id"] for block in sent[2]["content"]] == ["a", "b"]


def test_a_schema_keeps_the_effort_that_the_release_pins() -> None:
    request = ProviderRequest((HELLO,), response_schema={"type": "object"})
    sent = provider(output_config={"effort": "low"}).body(request, streamed=True)
    assert sent["output_config"]["effort"] == "low"
    assert sent["output_config"]["format"]["type"] == "json_schema"
    assert sent["stream"] is True


def test_a_streamed_call_without_arguments_has_an_empty_object() -> None:
    start = {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "now"}}
    empty = {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ""}}
    for events in ((start,), (start, empty)):
        found = read(*events, {"type": "content_block_stop", "index": 1})
        assert found.tool_calls == (ToolCall("t", "now", "{}"),)


def test_tokens_of_the_cache_are_input_and_the_counts_of_the_end_replace_those_of_the_start() -> None:
    began = {"input_tokens": 10, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 5, "output_tokens": 1}
    ended = {"output_tokens": 30, "output_tokens_details": {"thinking_tokens": 20}, "input_tokens": None}
    found = read(
        {"type": "message_start", "message": {"usage": began}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ended},
    )
    assert found.usage == Usage(105, 10, 20, 90, 135)


def test_an_event_of_a_kind_that_comes_later_is_passed_over() -> None:
    assert read({"type": "something_new", "x": 1}, {"type": "ping"}).text is None


@pytest.mark.parametrize(
    ("kind", "status"), [("overloaded_error", 529), ("rate_limit_error", 429), ("api_error", 500), ("new_error", 502)]
)
def test_an_error_inside_of_a_stream_has_the_status_of_its_type(kind: str, status: int) -> None:
    piece = f'{{"type": "error", "error": {{"type": "{kind}", "message": "Not now"}}}}'
    with pytest.raises(ProviderError, match="Not now") as caught:
        provider()._event(piece, ())
    assert caught.value.status == status
