"""Frameworks on OpenAI's protocol: each one a conversation, a stream, a structured answer and an error of its class."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel, SecretStr

from tests.conftest import RunningStack
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated


class Mood(BaseModel):
    label: str


MOOD = Behaviour(text='{"label": "negative"}')


def test_langchain(base_url: str, provider_server: Simulated) -> None:
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    def chat(model: str) -> Any:
        return ChatOpenAI(model=model, base_url=base_url, api_key=SecretStr("none"), max_retries=0, temperature=0.5)

    assert chat("chat").invoke("Hi").content == "A simulated answer."
    assert "".join(str(piece.content) for piece in chat("chat").stream("Hi")) == "A simulated answer."
    provider_server.will(MOOD)
    assert chat("mood").with_structured_output(Mood, method="json_schema").invoke("Bad.") == Mood(label="negative")
    with pytest.raises(openai.NotFoundError, match="nobody"):
        chat("nobody").invoke("Hi")
    embeddings = OpenAIEmbeddings(
        model="wordllama-256", base_url=base_url, api_key=SecretStr("none"), check_embedding_ctx_length=False
    )
    assert len(embeddings.embed_query("A gate decides.")) == 256


def test_langchain_runs_tools(base_url: str, provider_server: Simulated) -> None:
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    @tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"Rain in {city}."

    provider_server.will(Behaviour(tool_calls=(("weather", '{"city": "Oslo"}'),)))
    model = ChatOpenAI(model="open", base_url=base_url, api_key=SecretStr("none")).bind_tools([weather])
    (call,) = model.invoke("Weather?").tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Oslo"})


def test_pydantic_ai(base_url: str, provider_server: Simulated) -> None:
    from pydantic_ai import Agent, NativeOutput
    from pydantic_ai.exceptions import ModelHTTPError
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=base_url, api_key="none")
    for model in (OpenAIChatModel("chat", provider=provider), OpenAIResponsesModel("chat", provider=provider)):
        assert Agent(model).run_sync("Hi").output == "A simulated answer."
    provider_server.will(MOOD)
    mood = Agent(OpenAIChatModel("mood", provider=provider), output_type=NativeOutput(Mood))
    assert mood.run_sync("Bad.").output == Mood(label="negative")
    with pytest.raises(ModelHTTPError, match="404"):
        Agent(OpenAIChatModel("nobody", provider=provider)).run_sync("Hi")

    provider_server.will(Behaviour(tool_calls=(("weather", '{"city": "Oslo"}'),)), Behaviour(text="It rains."))
    agent = Agent(OpenAIChatModel("open", provider=provider))

    @agent.tool_plain
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"Rain in {city}."

    assert agent.run_sync("Weather?").output == "It rains."


def test_litellm(base_url: str, provider_server: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else its import asks the internet for prices
    import litellm

    def ask(model: str, **more: Any) -> Any:
        turns = [{"role": "user", "content": "Hi"}]
        return litellm.completion(
            model=f"openai/{model}", messages=turns, api_base=base_url, api_key="none", num_retries=0, **more
        )

    assert ask("chat", temperature=0.3).choices[0].message.content == "A simulated answer."
    pieces = [chunk.choices[0].delta.content or "" for chunk in ask("chat", stream=True)]
    assert "".join(pieces) == "A simulated answer."
    provider_server.will(MOOD)
    assert Mood.model_validate_json(ask("mood", response_format=Mood).choices[0].message.content).label == "negative"
    with pytest.raises(litellm.NotFoundError, match="nobody"):
        ask("nobody")


def test_mlflows_autolog_traces_a_call(
    base_url: str, provider_server: Simulated, registry_server: RunningStack
) -> None:
    import mlflow

    mlflow.set_tracking_uri(registry_server.env["MLFLOW_TRACKING_URI"])
    mlflow.set_experiment("clients")
    mlflow.openai.autolog()
    try:
        client = openai.OpenAI(base_url=base_url, api_key="none")
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "Hi"}])
        mlflow.flush_trace_async_logging()
    finally:
        mlflow.openai.autolog(disable=True)
    trace = mlflow.get_trace(mlflow.get_last_active_trace_id())
    assert trace is not None
    counted = trace.info.token_usage or {}
    assert (counted["input_tokens"], counted["output_tokens"], counted["total_tokens"]) == (12, 5, 17)


def test_a_plain_post_without_any_client_works(base_url: str, provider_server: Simulated) -> None:
    body = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
    assert httpx.post(f"{base_url}/chat/completions", json=body).json()["usage"]["total_tokens"] == 17
