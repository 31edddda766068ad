"""Anything that speaks OpenAI's chat completions: OpenAI itself, vLLM, Ollama, llama.cpp, gateways.

The address is `LLM_API_URL`, up to `/v1` or in full; the key goes into the header `Authorization`, where there is one.
Pinned parameters: those of the API by their own names (`temperature`, `top_p`, `max_completion_tokens`, …), MLflow's
`stop_sequences`, and those of `patience`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

import orjson

from mlflow_project.adapters.providers.parameters import refuse_unknown
from mlflow_project.adapters.providers.patience import Patience
from mlflow_project.adapters.providers.protocol import RESPONSE_SCHEMA, Delta, count
from mlflow_project.adapters.providers.upstream import Upstream
from mlflow_project.domain.answer import Completion, Context, Usage
from mlflow_project.domain.release import Message, ProviderChoice
from mlflow_project.errors import ConfigError, ProviderError
from mlflow_project.settings import ProviderSettings

_METHOD = "/chat/completions"
_DONE = "[DONE]"
_PATIENCE = frozenset(field.name for field in fields(Patience))
_OPTIONS = frozenset(
    {"frequency_penalty", "logit_bias", "max_completion_tokens", "max_tokens", "presence_penalty", "reasoning_effort"}
    | {"seed", "service_tier", "stop", "temperature", "top_p", "verbosity"}
)


@dataclass(frozen=True)
class OpenAI:
    """`url` is the full address of the method."""

    upstream: Upstream
    url: str
    model: str
    options: Mapping[str, Any]

    @classmethod
    def of(cls, choice: ProviderChoice, settings: ProviderSettings) -> OpenAI:
        """Read and check what the release pins and what is set here.

        Raises:
            InvalidData: a parameter is unknown or wrong.
            ConfigError: the address is Gemini's.
        """
        parameters = {"stop" if name == "stop_sequences" else name: value for name, value in choice.parameters.items()}
        refuse_unknown("openai", parameters, _OPTIONS | _PATIENCE)
        if "enerateContent" in settings.llm_api_url:
            raise ConfigError(
                "This prompt asks an OpenAI-compatible API, and LLM_API_URL is Gemini's: set it to an address that "
                f"ends with `/v1` or `{_METHOD}`."
            )
        secret = settings.llm_api_key.get_secret_value() if settings.llm_api_key else ""
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        base = settings.llm_api_url.rstrip("/")
        return cls(
            upstream=Upstream(urlsplit(base).hostname or base, headers, secret, Patience.of(parameters)),
            url=base if base.endswith(_METHOD) else base + _METHOD,
            model=choice.model,
            options={name: value for name, value in parameters.items() if name in _OPTIONS},
        )

    async def complete(
        self, messages: Sequence[Message], contexts: Sequence[Context], parameters: Mapping[str, Any]
    ) -> Completion:
        """Ask and wait for the whole."""
        data = await self.upstream.whole(self.url, self._body(messages, parameters), messages)
        read = _Reading()
        read.add(data, "message")
        return read.completion()

    async def stream(
        self, messages: Sequence[Message], contexts: Sequence[Context], parameters: Mapping[str, Any]
    ) -> AsyncGenerator[Delta]:
        """Ask, and hand on each piece."""
        read = _Reading()
        body = self._body(messages, parameters) | {"stream": True, "stream_options": {"include_usage": True}}
        async with aclosing(self.upstream.pieces(self.url, body, messages)) as pieces:
            async for piece in pieces:
                if piece.strip() == _DONE:
                    break
                if text := read.add(self._event(piece, messages), "delta"):
                    yield Delta(text)
        if read.cut:
            raise ProviderError("The stream was cut before its end.", kind="transport")
        yield Delta(completion=read.completion())

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self.upstream.aclose()

    def _body(self, messages: Sequence[Message], parameters: Mapping[str, Any]) -> dict[str, Any]:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        body: dict[str, Any] = {"model": self.model, "messages": turns, **self.options}
        if schema := parameters.get(RESPONSE_SCHEMA):
            named = {"name": "answer", "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return body

    def _event(self, piece: str, messages: Sequence[Message]) -> dict[str, Any]:
        try:
            data = orjson.loads(piece)
        except orjson.JSONDecodeError as error:
            raise ProviderError("The stream holds something that is no JSON.", kind="invalid_json") from error
        if isinstance(data, dict) and data.get("error"):
            code = data["error"].get("code") if isinstance(data["error"], dict) else None
            raise self.upstream.refusal(code if isinstance(code, int) else 500, piece.encode(), messages)
        return data if isinstance(data, dict) else {}


class _Reading:
    """What was received so far."""

    def __init__(self) -> None:
        self._finish_reason: str | None = None
        self._texts: list[str] = []
        self._usage = Usage()

    def add(self, data: Mapping[str, Any], holder: str) -> str:
        """Take one answer (its `message`), or one piece of it (its `delta`); its text."""
        try:
            if counts := data.get("usage"):
                self._usage = _usage(counts)
            choices = data.get("choices") or [{}]
            said = choices[0].get(holder) or {}
            text = said.get("content") or said.get("refusal") or ""
            self._finish_reason = choices[0].get("finish_reason") or self._finish_reason
            if not isinstance(text, str):
                raise TypeError("content is no text")
        except (AttributeError, LookupError, TypeError) as error:
            raise ProviderError("The answer does not have OpenAI's form.", kind="invalid_json") from error
        if text:
            self._texts.append(text)
        return text

    @property
    def cut(self) -> bool:
        """Whether a stream that ended now would lack its end. One without any text has none to lack."""
        return bool(self._texts) and self._finish_reason is None

    def completion(self) -> Completion:
        """The whole; without any text there was no choice."""
        return Completion("".join(self._texts) or None, self._usage, self._finish_reason)


def _usage(data: Mapping[str, Any]) -> Usage:
    """`completion_tokens` holds the thoughts too; here they are counted apart."""
    thoughts = count((data.get("completion_tokens_details") or {}).get("reasoning_tokens"))
    output = count(data.get("completion_tokens"))
    return Usage(
        input_tokens=count(data.get("prompt_tokens")),
        output_tokens=output if output is None else max(0, output - (thoughts or 0)),
        thought_tokens=thoughts,
        cached_tokens=count((data.get("prompt_tokens_details") or {}).get("cached_tokens")),
        total_tokens=count(data.get("total_tokens")),
    )
