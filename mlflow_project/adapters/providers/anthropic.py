"""Anthropic's Messages API: `/v1/messages`, whole and streamed.

The endpoint's address ends before or with `/v1`, or is the full one. Pinned parameters: those of the API by their own
names (`max_tokens`, `temperature`, `top_p`, `top_k`, `stop_sequences`, `thinking`, `cache_control`, …), OpenAI's
`stop`, and those of `patience`. The API wants a limit of tokens; a release that pins none gets `MAX_TOKENS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson

from mlflow_project.adapters.providers.chat import ChatProvider, Reading, arguments_of, with_path
from mlflow_project.adapters.providers.endpoints import Endpoint
from mlflow_project.adapters.providers.parameters import refuse_unknown
from mlflow_project.adapters.providers.protocol import ProviderRequest, count
from mlflow_project.domain.answer import Usage
from mlflow_project.domain.release import Message
from mlflow_project.domain.tools import ToolCallPiece, ToolChoice, ToolRequest, ToolResult
from mlflow_project.errors import ConfigError

VERSION = "2023-06-01"
"""Goes out in the header `anthropic-version`, unless the endpoint sets another."""
MAX_TOKENS = 4_096
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP status of each type of error, for errors inside of a stream."""
_SCHEMA_KEYS = frozenset(
    {"$defs", "$ref", "allOf", "anyOf", "const", "default", "definitions", "description", "enum", "format", "items"}
    | {"properties", "required", "title", "type"}
)
_FORMATS = frozenset({"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"})
_CHOICES = {"auto": "auto", "none": "none", "required": "any", None: "auto"}


class Anthropic(ChatProvider):
    """One model behind Anthropic's Messages API."""

    PROTOCOL = "anthropic"
    OPTIONS = frozenset(
        {"cache_control", "max_tokens", "metadata", "output_config", "service_tier", "stop_sequences", "temperature"}
        | {"thinking", "top_k", "top_p"}
    )
    PINNED_NAMES: ClassVar[Mapping[str, str]] = {"stop": "stop_sequences", "max_completion_tokens": "max_tokens"}
    CALLER_NAMES: ClassVar[Mapping[str, str]] = PINNED_NAMES

    @classmethod
    def checked_address(cls, endpoint: Endpoint) -> str:
        if "enerateContent" in endpoint.url:
            raise ConfigError(
                "This prompt asks Anthropic's API, and LLM_API_URL is Gemini's: set it to https://api.anthropic.com, "
                "or name an endpoint of providers.yaml in the template."
            )
        return endpoint.url

    @classmethod
    def headers(cls, endpoint: Endpoint) -> dict[str, str]:
        return {"anthropic-version": VERSION, **endpoint.headers_with_key(cls.PROTOCOL)}

    def url(self, *, streamed: bool) -> str:
        return with_path(self.address, "/v1/messages")

    def reading(self) -> Reading:
        return _Reading()

    def body(self, request: ProviderRequest, *, streamed: bool) -> dict[str, Any]:
        options = {"max_tokens": MAX_TOKENS, **self.asked_options(request)}
        if isinstance(options.get("stop_sequences"), str):  # OpenAI's `stop` may be one text
            options["stop_sequences"] = [options["stop_sequences"]]
        if request.response_schema is not None:
            wanted = {"type": "json_schema", "schema": anthropic_schema(request.response_schema)}
            options["output_config"] = {**options.get("output_config", {}), "format": wanted}
        body: dict[str, Any] = {"model": self.model, "messages": _turns(request.messages), **options}
        if system := "\n\n".join(message.content for message in request.messages if message.role == "system"):
            body["system"] = system
        if request.tools.tools:
            body |= _tools(request.tools)
        return {**body, "stream": True} if streamed else body

    def asked_options(self, request: ProviderRequest) -> dict[str, Any]:
        """The API refuses parameters that it does not have, such as OpenAI's `seed`."""
        options = super().asked_options(request)
        refuse_unknown(self.PROTOCOL, options, self.OPTIONS)
        return options

    def error_status(self, error: Mapping[str, Any]) -> object:
        return _STATUSES.get(str(error.get("type")))


class _Reading(Reading):
    """Reads a message, or the events of one. Thoughts are counted and not shown."""

    FORM = "Anthropic"

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, Any] = {}
        self._places: dict[int, int] = {}
        """The number of each tool call, by the index of its block."""
        self._without_arguments: set[int] = set()
        """The blocks of tool calls whose arguments have not begun."""

    def read(self, data: Mapping[str, Any]) -> tuple[str, list[ToolCallPiece]]:
        kind = data.get("type")
        if kind == "message":
            self._note(data)
            blocks = [self._block(place, block, whole=True) for place, block in enumerate(data["content"])]
            return "".join(text for text, _ in blocks), [call for _, calls in blocks for call in calls]
        if kind == "message_start":
            self._note(data["message"])
        elif kind == "message_delta":
            self._note({**data["delta"], "usage": data.get("usage")})
        elif kind == "content_block_start":
            return self._block(data["index"], data["content_block"], whole=False)
        elif kind == "content_block_delta":
            return self._delta(data["index"], data["delta"])
        elif kind == "content_block_stop" and data["index"] in self._without_arguments:
            return "", [_piece(self._places[data["index"]], "", "", "{}")]
        elif kind is None:
            raise LookupError("an event without a type")
        return "", []

    def _note(self, message: Mapping[str, Any]) -> None:
        """Counts of a stream come in pieces: those of its start, and later the final ones."""
        self._counts |= {name: value for name, value in (message.get("usage") or {}).items() if value is not None}
        self.usage = _usage(self._counts)
        reason = message.get("stop_reason")
        self.finish_reason = "tool_calls" if reason == "tool_use" else reason or self.finish_reason

    def _block(self, index: int, block: Mapping[str, Any], *, whole: bool) -> tuple[str, list[ToolCallPiece]]:
        """A block of content, or the start of one, whose tool call has its arguments still to come."""
        if block["type"] == "text":
            return block["text"], []
        if block["type"] != "tool_use":
            return "", []
        self._places[index] = len(self._places)
        given = orjson.dumps(block["input"]).decode() if whole or block.get("input") else ""
        if not given:
            self._without_arguments.add(index)
        return "", [_piece(self._places[index], str(block["id"]), str(block["name"]), given)]

    def _delta(self, index: int, delta: Mapping[str, Any]) -> tuple[str, list[ToolCallPiece]]:
        if delta["type"] == "text_delta":
            return delta["text"], []
        if delta["type"] == "input_json_delta" and delta["partial_json"]:
            self._without_arguments.discard(index)
            return "", [_piece(self._places[index], "", "", delta["partial_json"])]
        return "", []


def anthropic_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema as the subset that Anthropic takes, in which no object has more than its named properties. What it
    does not know is left out, and validated here anyway."""
    plain = {key: value for key, value in schema.items() if key in _SCHEMA_KEYS}
    if "oneOf" in schema:
        plain["anyOf"] = schema["oneOf"]
    if plain.get("format") not in _FORMATS:
        plain.pop("format", None)
    for key in ("properties", "$defs", "definitions"):
        if isinstance(plain.get(key), Mapping):
            plain[key] = {name: anthropic_schema(value) for name, value in plain[key].items()}
    for key in ("anyOf", "allOf"):
        if isinstance(plain.get(key), list):
            plain[key] = [anthropic_schema(option) for option in plain[key]]
    if isinstance(plain.get("items"), Mapping):
        plain["items"] = anthropic_schema(plain["items"])
    if plain.get("type") == "object" or "properties" in plain:
        plain["additionalProperties"] = False
    return plain


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The turns after the system message. Results of tools go into one turn of the user, as the API wants them."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        if isinstance(message, ToolResult):
            result = {"type": "tool_result", "tool_use_id": message.call_id, "content": message.content}
            if turns and isinstance(turns[-1]["content"], list) and turns[-1]["role"] == "user":
                turns[-1]["content"].append(result)
            else:
                turns.append({"role": "user", "content": [result]})
        elif isinstance(message, ToolRequest):
            turns.append({"role": "assistant", "content": _asked(message)})
        else:
            turns.append({"role": message.role, "content": message.content})
    return turns


def _asked(message: ToolRequest) -> list[dict[str, Any]]:
    text = [{"type": "text", "text": message.content}] if message.content else []
    calls = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments_of(call)} for call in message.calls
    ]
    return [*text, *calls]


def _tools(choice: ToolChoice) -> dict[str, Any]:
    """OpenAI's tools and tool choice in Anthropic's form."""
    declared = []
    for function in (tool["function"] for tool in choice.tools):
        described = {name: function[name] for name in ("name", "description") if name in function}
        declared.append({**described, "input_schema": function.get("parameters") or {"type": "object"}})
    if isinstance(choice.mode, Mapping):
        mode = {"type": "tool", "name": (choice.mode.get("function") or {}).get("name")}
    else:
        mode = {"type": _CHOICES.get(choice.mode, "auto")}
    if choice.parallel is False and mode["type"] != "none":
        mode["disable_parallel_tool_use"] = True
    return {"tools": declared, "tool_choice": mode}


def _piece(index: int, id: str, name: str, arguments: object) -> ToolCallPiece:
    if not isinstance(arguments, str):
        raise TypeError("a tool call does not have its form")
    return ToolCallPiece(index, id, name, arguments)


def _usage(counts: Mapping[str, Any]) -> Usage:
    """`input_tokens` leaves out what was read from the cache or written to it, and `output_tokens` holds the thoughts.
    Here input is everything that was sent, and thoughts are counted apart."""
    sent = [count(counts.get(name)) for name in ("input_tokens", "cache_creation_input_tokens")]
    cached = count(counts.get("cache_read_input_tokens"))
    written = count(counts.get("output_tokens"))
    thoughts = count((counts.get("output_tokens_details") or {}).get("thinking_tokens"))
    asked = None if sent[0] is None else sum(tokens or 0 for tokens in (*sent, cached))
    return Usage(
        input_tokens=asked,
        output_tokens=None if written is None else max(0, written - (thoughts or 0)),
        thought_tokens=thoughts,
        cached_tokens=cached,
        total_tokens=None if asked is None or written is None else asked + written,
    )
