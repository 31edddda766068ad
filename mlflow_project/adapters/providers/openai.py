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
from mlflow_project.adapters.providers.protocol import Delta, ProviderRequest, count
from mlflow_project.adapters.providers.upstream import Network, Upstream
from mlflow_project.domain.answer import Completion, Usage
from mlflow_project.domain.release import Message, ProviderChoice
from mlflow_project.domain.tools import ToolCallPiece, ToolRequest, ToolResult, joined
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
    def of(cls, choice: ProviderChoice, settings: ProviderSettings, network: Network) -> OpenAI:
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
            upstream=Upstream(urlsplit(base).hostname or base, headers, secret, Patience.of(parameters), network),
            url=base if base.endswith(_METHOD) else base + _METHOD,
            model=choice.model,
            options={name: value for name, value in parameters.items() if name in _OPTIONS},
        )

    async def complete(self, request: ProviderRequest) -> Completion:
        """Ask and wait for the whole."""
        data = await self.upstream.whole(self.url, self._body(request), request.messages)
        read = _Reading()
        read.add(data, "message")
        return read.completion()

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Delta]:
        """Ask, and hand on each piece."""
        read = _Reading()
        body = self._body(request) | {"stream": True, "stream_options": {"include_usage": True}}
        async with aclosing(self.upstream.pieces(self.url, body, request.messages)) as pieces:
            async for piece in pieces:
                if piece.strip() == _DONE:
                    break
                for delta in read.add(self._event(piece, request.messages), "delta"):
                    yield delta
        if read.cut:
            raise ProviderError("The stream was cut before its end.", kind="transport")
        yield Delta(completion=read.completion())

    def _body(self, request: ProviderRequest) -> dict[str, Any]:
        turns = [_turn(message) for message in request.messages]
        body: dict[str, Any] = {"model": self.model, "messages": turns, **self.options, **self._overrides(request)}
        if request.response_schema is not None:
            named = {"name": "answer", "schema": request.response_schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        if request.tools.tools:
            body["tools"] = list(request.tools.tools)
            options = {"tool_choice": request.tools.mode, "parallel_tool_calls": request.tools.parallel}
            body |= {name: value for name, value in options.items() if value is not None}
        return body

    def _overrides(self, request: ProviderRequest) -> dict[str, Any]:
        """A caller's limit of tokens goes under the name that the release pins it by."""
        overrides = dict(request.overrides)
        if "max_tokens" in overrides and "max_completion_tokens" in self.options:
            overrides["max_completion_tokens"] = overrides.pop("max_tokens")
        return overrides

    def _event(self, piece: str, messages: Sequence[Message]) -> dict[str, Any]:
        try:
            data = orjson.loads(piece)
        except orjson.JSONDecodeError as error:
            raise ProviderError("The stream holds something that is no JSON.", kind="invalid_json") from error
        if isinstance(data, dict) and data.get("error"):
            code = data["error"].get("code") if isinstance(data["error"], dict) else None
            raise self.upstream.refusal(code, piece.encode(), messages)
        return data if isinstance(data, dict) else {}


class _Reading:
    """What was received so far."""

    def __init__(self) -> None:
        self._finish_reason: str | None = None
        self._texts: list[str] = []
        self._calls: list[ToolCallPiece] = []
        self._usage = Usage()

    def add(self, data: Mapping[str, Any], holder: str) -> list[Delta]:
        """Read one answer (its `message`) or one event of a stream (its `delta`), and return what it adds."""
        try:
            if counts := data.get("usage"):
                self._usage = _usage(counts)
            choices = data.get("choices") or [{}]
            said = choices[0].get(holder) or {}
            text = said.get("content") or said.get("refusal") or ""
            self._finish_reason = choices[0].get("finish_reason") or self._finish_reason
            calls = [_piece(place, call) for place, call in enumerate(said.get("tool_calls") or ())]
            if not isinstance(text, str):
                raise TypeError("content is no text")
        except (AttributeError, LookupError, TypeError) as error:
            raise ProviderError("The answer does not have OpenAI's form.", kind="invalid_json") from error
        if text:
            self._texts.append(text)
        self._calls += calls
        return [*([Delta(text)] if text else []), *(Delta(tool_call=call) for call in calls)]

    @property
    def cut(self) -> bool:
        """Whether a stream that ended now was cut. A stream that brought nothing has no end to lack."""
        return bool(self._texts or self._calls) and self._finish_reason is None

    def completion(self) -> Completion:
        """The whole; without any text there was no choice."""
        text = "".join(self._texts) or None
        return Completion(text, self._usage, self._finish_reason, tool_calls=joined(self._calls))


def _turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if isinstance(message, ToolRequest):
        calls = [(call.id, {"name": call.name, "arguments": call.arguments}) for call in message.calls]
        turn["tool_calls"] = [{"id": id, "type": "function", "function": function} for id, function in calls]
    if isinstance(message, ToolResult):
        turn["tool_call_id"] = message.call_id
    return turn


def _piece(place: int, call: Mapping[str, Any]) -> ToolCallPiece:
    """Read one entry of `tool_calls`. Whole answers have no index; there the place in the list is the index."""
    function = call.get("function") or {}
    piece = ToolCallPiece(
        call.get("index", place), call.get("id") or "", function.get("name") or "", function.get("arguments") or ""
    )
    if not isinstance(piece.index, int) or not all(isinstance(s, str) for s in (piece.id, piece.name, piece.arguments)):
        raise TypeError("a tool call does not have its form")
    return piece


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
