"""OpenAI's own client against the server: every field, pinned parameters, tools, responses, embeddings."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall, completion_create_params
from openai.types.responses import response_create_params
from pydantic import BaseModel

from mlflow_project.adapters.retrieval.embeddings import embed
from serving.routes.openai.chat_request import ChatRequest
from serving.routes.openai.responses_request import ResponsesRequest
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated

ASK: Any = [{"role": "user", "content": "What is the weather in Oslo?"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
CALL = Behaviour(tool_calls=(("weather", '{"city": "Oslo"}'),))


class Mood(BaseModel):
    label: str


@pytest.fixture
def client(base_url: str, provider_server: Simulated) -> openai.OpenAI:
    return openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)


def test_every_field_of_the_clients_requests_is_known_here() -> None:
    chat = set(completion_create_params.CompletionCreateParamsStreaming.__annotations__)
    assert chat <= set(ChatRequest.model_fields)
    response = set(response_create_params.ResponseCreateParamsBase.__annotations__)
    assert response <= set(ResponsesRequest.model_fields)


def test_pinned_parameters_hold_and_the_response_names_those_without_effect(
    client: openai.OpenAI, provider_server: Simulated
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="chat",
        messages=ASK,
        temperature=0.9,
        max_completion_tokens=5,
        seed=3,
        stop=["x"],
        user="someone",
        metadata={"team": "a"},
        store=False,
        parallel_tool_calls=True,
        extra_body={"service_tier": "auto"},
    )
    assert raw.headers["x-ignored-parameters"] == "temperature, max_tokens, stop, seed"
    sent = provider_server.requests[0].body
    assert (sent["temperature"], sent.get("seed"), sent.get("stop")) == (0.2, None, None)


def test_an_override_within_the_releases_bounds_takes_effect(client: openai.OpenAI, provider_server: Simulated) -> None:
    raw = client.chat.completions.with_raw_response.create(model="open", messages=ASK, temperature=0.7, max_tokens=9)
    assert "x-ignored-parameters" not in raw.headers
    sent = provider_server.requests[0].body
    assert (sent["temperature"], sent["max_tokens"]) == (0.7, 9)
    with pytest.raises(openai.UnprocessableEntityError, match="`temperature` must be a number from 0 to 1"):
        client.chat.completions.create(model="open", messages=ASK, temperature=1.5)


def test_an_unknown_field_is_refused_by_its_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="variabels"):
        client.chat.completions.create(model="chat", messages=ASK, extra_body={"variabels": {}})


def test_tools_go_the_whole_round(client: openai.OpenAI, provider_server: Simulated) -> None:
    provider_server.will(CALL, Behaviour(text="It rains."))
    first = client.chat.completions.create(model="open", messages=ASK, tools=[WEATHER], tool_choice="auto")
    assert first.choices[0].finish_reason == "tool_calls"
    calls = first.choices[0].message.tool_calls
    assert calls is not None
    assert isinstance(calls[0], ChatCompletionMessageFunctionToolCall)
    assert (calls[0].function.name, calls[0].function.arguments) == ("weather", '{"city": "Oslo"}')
    result: Any = {"role": "tool", "tool_call_id": calls[0].id, "content": "Rain."}
    second = client.chat.completions.create(
        model="open", messages=[*ASK, first.choices[0].message, result], tools=[WEATHER]
    )
    assert second.choices[0].message.content == "It rains."
    assert provider_server.requests[1].body["messages"][-1]["content"] == "Rain."


def test_streamed_tool_calls_come_in_pieces(client: openai.OpenAI, provider_server: Simulated) -> None:
    provider_server.will(CALL)
    with client.chat.completions.stream(model="open", messages=ASK, tools=[WEATHER]) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.arguments == '{"city": "Oslo"}'


def test_tools_are_refused_where_the_release_allows_none(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="chat/1 takes no tools from a caller"):
        client.chat.completions.create(model="chat", messages=ASK, tools=[WEATHER])


def test_a_tool_with_a_deep_schema_is_refused_in_words(client: openai.OpenAI) -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"type": "object", "properties": {"a": deep}}
    tool: Any = {"type": "function", "function": {"name": "deep", "parameters": deep}}
    with pytest.raises(openai.BadRequestError, match=r"tools\[0\]\.function\.parameters"):
        client.chat.completions.create(model="open", messages=ASK, tools=[tool])


def test_usage_is_estimated_and_marked_where_the_provider_reports_none(client: openai.OpenAI) -> None:
    usage = client.chat.completions.create(model="quoted", messages=ASK).usage
    assert usage is not None
    assert usage.prompt_tokens > 5
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.model_extra == {"estimated": True}


def test_one_model_is_retrieved_by_its_id(client: openai.OpenAI) -> None:
    for id in ("chat", "chat@Production", "chat/1", "wordllama-256"):
        assert client.models.retrieve(id).id == id
    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.models.retrieve("nobody")


def test_a_response_is_text(client: openai.OpenAI, provider_server: Simulated) -> None:
    response = client.responses.create(model="open", input="Hi", instructions="Be kind.", max_output_tokens=20)
    assert (response.output_text, response.status, response.model) == ("A simulated answer.", "completed", "open/1")
    assert response.usage is not None
    assert response.usage.total_tokens == 17
    sent = provider_server.requests[0].body
    assert [turn["content"] for turn in sent["messages"]] == ["Be kind.", "Hi"]
    assert sent["max_tokens"] == 20


def test_a_response_streams(client: openai.OpenAI, provider_server: Simulated) -> None:
    provider_server.will(Behaviour(text="Grüße aus Zürich, 東京!", pieces=5))
    with client.responses.stream(model="chat", input="Hi") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == "Grüße aus Zürich, 東京!"
    assert [event.sequence_number for event in events if event.type == "response.created"] == [0]
    assert sum(event.type == "response.output_text.delta" for event in events) == 5


def test_a_response_is_structured(client: openai.OpenAI, provider_server: Simulated) -> None:
    provider_server.will(Behaviour(text='{"label": "negative"}'))
    assert client.responses.parse(model="mood", input="Bad.", text_format=Mood).output_parsed == Mood(label="negative")
    with pytest.raises(openai.BadRequestError, match="no response schema"):
        client.responses.parse(model="chat", input="Bad.", text_format=Mood)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_asks_for_tools(client: openai.OpenAI, provider_server: Simulated, streamed: bool) -> None:
    tool: Any = {"type": "function", "strict": False, **WEATHER["function"]}
    provider_server.will(CALL, Behaviour(text="It rains."))
    if streamed:
        with client.responses.stream(model="open", input="Weather?", tools=[tool]) as stream:
            first: Any = stream.get_final_response()
    else:
        first = client.responses.create(model="open", input="Weather?", tools=[tool])
    (call,) = first.output
    assert (call.type, call.name, call.arguments) == ("function_call", "weather", '{"city": "Oslo"}')
    turns: Any = [
        {"role": "user", "content": "Weather?"},
        call.model_dump(include={"type", "call_id", "name", "arguments"}),
        {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."},
    ]
    assert client.responses.create(model="open", input=turns, tools=[tool]).output_text == "It rains."


def test_what_needs_stored_responses_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="none are stored here"):
        client.responses.create(model="chat", input="Hi", previous_response_id="resp_1")


def test_a_response_that_breaks_ends_as_failed(client: openai.OpenAI, provider_server: Simulated) -> None:
    provider_server.will(Behaviour(fault="cut", text="A long enough answer", pieces=6))
    events = list(client.responses.create(model="chat", input="Hi", stream=True))
    assert events[-1].type == "response.failed"


def test_texts_are_embedded(client: openai.OpenAI) -> None:
    texts = ["A gate decides.", "Rain in Oslo."]
    answer = client.embeddings.create(model="wordllama-256", input=texts)
    vectors = np.array([row.embedding for row in answer.data])
    assert np.allclose(vectors, embed(texts), atol=1e-6)
    assert answer.usage.total_tokens > 4
    short = client.embeddings.create(model="wordllama-256", input=texts[0], dimensions=64)
    assert np.isclose(np.linalg.norm(short.data[0].embedding), 1.0)


@pytest.mark.parametrize("wrong", [[], [1, 2, 3], [""]])
def test_what_is_no_text_is_not_embedded(client: openai.OpenAI, wrong: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="`input` must hold"):
        client.embeddings.create(model="wordllama-256", input=wrong)


def test_the_asynchronous_client_chats_and_streams(base_url: str, provider_server: Simulated) -> None:
    async def both() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
            whole = await client.chat.completions.create(model="chat", messages=ASK)
            stream = await client.chat.completions.create(model="chat", messages=ASK, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        return whole.choices[0].message.content, "".join(pieces)

    assert asyncio.run(both()) == ("A simulated answer.", "A simulated answer.")


def test_retries_and_time_outs_are_the_clients_own(base_url: str, provider_server: Simulated) -> None:
    provider_server.will(Behaviour(status=429, retry_after="0.1"))
    patient = openai.OpenAI(base_url=base_url, api_key="none", max_retries=1)
    assert patient.chat.completions.create(model="chat", messages=ASK).choices[0].message.content
    provider_server.will(Behaviour(latency_ms=3_000))
    hurried = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        hurried.chat.completions.create(model="chat", messages=ASK)
