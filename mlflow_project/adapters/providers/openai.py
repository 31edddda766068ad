"""Anything that speaks OpenAI's chat completions: OpenAI itself, Azure, Bedrock, vLLM, Ollama, llama.cpp, gateways.

The endpoint's address ends with `/v1`, or is the full one. Pinned parameters: those of the API by their own names
(`temperature`, `top_p`, `max_completion_tokens`, …), MLflow's `stop_sequences`, and those of `patience`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mlflow_project.adapters.providers.chat import ChatProvider, Reading, with_path
from mlflow_project.adapters.providers.endpoints import Endpoint
from mlflow_project.adapters.providers.protocol import ProviderRequest, count
from mlflow_project.adapters.providers.thoughts import ThoughtFilter
from mlflow_project.domain.answer import Usage
from mlflow_project.domain.release import Message
from mlflow_project.domain.tools import ToolCallPiece, ToolRequest, ToolResult
from mlflow_project.errors import ConfigError

_METHOD = "/chat/completions"


class OpenAI(ChatProvider):
    """One model behind OpenAI's chat completions."""

    PROTOCOL = "openai"
    OPTIONS = frozenset(
        {"frequency_penalty", "logit_bias", "max_completion_tokens", "max_tokens", "presence_penalty"}
        | {"reasoning_effort", "seed", "service_tier", "stop", "temperature", "top_p", "verbosity"}
    )
    PINNED_NAMES: ClassVar[Mapping[str, str]] = {"stop_sequences": "stop"}
    CALLER_NAMES: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def checked_address(cls, endpoint: Endpoint) -> str:
        if "enerateContent" in endpoint.url:
            raise ConfigError(
                "This prompt asks an OpenAI-compatible API, and LLM_API_URL is Gemini's: set it to an address that "
                f"ends with `/v1` or `{_METHOD}`."
            )
        return endpoint.url

    def url(self, *, streamed: bool) -> str:
        return with_path(self.address, _METHOD)

    def reading(self) -> Reading:
        return _Reading(ThoughtFilter(self.thoughts_tag) if self.thoughts_tag else None)

    def body(self, request: ProviderRequest, *, streamed: bool) -> dict[str, Any]:
        turns = [_turn(message) for message in request.messages]
        body: dict[str, Any] = {"model": self.model, "messages": turns, **self.asked_options(request)}
        if request.response_schema is not None:
            named = {"name": "answer", "schema": request.response_schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        if request.tools.tools:
            body["tools"] = list(request.tools.tools)
            options = {"tool_choice": request.tools.mode, "parallel_tool_calls": request.tools.parallel}
            body |= {name: value for name, value in options.items() if value is not None}
        if streamed:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def asked_options(self, request: ProviderRequest) -> dict[str, Any]:
        """A caller's limit of tokens goes under the name that the release pins it by."""
        overrides = dict(request.overrides)
        if "max_tokens" in overrides and "max_completion_tokens" in self.options:
            overrides["max_completion_tokens"] = overrides.pop("max_tokens")
        return {**self.options, **overrides}


class _Reading(Reading):
    """Reads an answer's `message`, or the `delta` of an event."""

    FORM = "OpenAI"

    def __init__(self, thoughts: ThoughtFilter | None = None) -> None:
        super().__init__()
        self._thoughts = thoughts

    def read(self, data: Mapping[str, Any]) -> tuple[str, list[ToolCallPiece]]:
        if counts := data.get("usage"):
            self.usage = _usage(counts)
        choice = (data.get("choices") or [{}])[0]
        said = choice.get("delta") or choice.get("message") or {}
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        calls = [_piece(place, call) for place, call in enumerate(said.get("tool_calls") or ())]
        text = said.get("content") or said.get("refusal") or ""
        if self._thoughts is not None:
            text = self._thoughts.without(text, is_last=bool(choice.get("finish_reason")))
        return text, calls


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
