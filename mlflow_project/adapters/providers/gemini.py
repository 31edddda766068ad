"""Google's Gemini by its native API: `models/…:generateContent`, and `:streamGenerateContent` for streams.

The endpoint's address is the full one, whose model gives way to the one that the release pins, or ends before
`/models`. The key goes into a header, never into the address. Pinned parameters: those of `generationConfig` by their
own names (`temperature`, `topP`, `maxOutputTokens`, `thinkingConfig`, …) or by those of MLflow's model configuration
(`top_p`, `max_tokens`, …), `safety_settings`, and those of `patience`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import orjson

from mlflow_project.adapters.providers.chat import ChatProvider, Reading, arguments_of
from mlflow_project.adapters.providers.endpoints import Endpoint
from mlflow_project.adapters.providers.protocol import ProviderRequest, count
from mlflow_project.domain.answer import Completion, Usage
from mlflow_project.domain.release import Message, ProviderChoice
from mlflow_project.domain.tools import ToolCallPiece, ToolChoice, ToolRequest, ToolResult
from mlflow_project.errors import ConfigError

_ADDRESS = re.compile(r"(?P<before>.*)/models/(?P<model>[^/:]+):(?:stream)?[gG]enerateContent(?:\?.*)?")
_SCHEMA_KEYS = frozenset(
    {"anyOf", "description", "enum", "example", "format", "items", "maxItems", "maxLength", "maxProperties", "maximum"}
    | {"minItems", "minLength", "minProperties", "minimum", "nullable", "pattern", "properties", "propertyOrdering"}
    | {"required", "title", "type"}
)


class Gemini(ChatProvider):
    """One model behind Gemini's API."""

    PROTOCOL = "gemini"
    OPTIONS = frozenset(
        {"candidateCount", "frequencyPenalty", "logprobs", "maxOutputTokens", "mediaResolution", "presencePenalty"}
        | {"responseLogprobs", "safety_settings", "seed", "stopSequences", "temperature", "thinkingConfig"}
        | {"topK", "topP"}
    )
    PINNED_NAMES: ClassVar[Mapping[str, str]] = {
        "max_tokens": "maxOutputTokens",
        "top_p": "topP",
        "top_k": "topK",
        "stop_sequences": "stopSequences",
        "frequency_penalty": "frequencyPenalty",
        "presence_penalty": "presencePenalty",
    }
    CALLER_NAMES: ClassVar[Mapping[str, str]] = {**PINNED_NAMES, "stop": "stopSequences"}

    @classmethod
    def checked_address(cls, endpoint: Endpoint) -> str:
        if endpoint.key is None:
            which = "set LLM_API_KEY" if endpoint.protocol is None else f"give the endpoint {endpoint.name!r} a `key`"
            raise ConfigError(f"This prompt asks Gemini, and there is no key: {which}.")
        if match := _ADDRESS.fullmatch(endpoint.url):
            return match["before"]
        if endpoint.protocol is None:
            raise ConfigError("This prompt asks Gemini: LLM_API_URL must end with `/models/<model>:generateContent`.")
        return endpoint.url.rstrip("/")

    @classmethod
    def called(cls, endpoint: Endpoint) -> str:
        return endpoint.name if endpoint.protocol is not None else "Gemini"

    @classmethod
    def model_of(cls, choice: ProviderChoice, endpoint: Endpoint) -> str:
        match = _ADDRESS.fullmatch(endpoint.url)
        return choice.model or (match["model"] if match else "")

    def url(self, *, streamed: bool) -> str:
        method = "streamGenerateContent?alt=sse" if streamed else "generateContent"
        return f"{self.address}/models/{quote(self.model, safe='@')}:{method}"

    def reading(self) -> Reading:
        return _Reading()

    def body(self, request: ProviderRequest, *, streamed: bool) -> dict[str, Any]:
        config = self.asked_options(request)
        safety = config.pop("safety_settings", None)
        if request.response_schema is not None:
            schema = gemini_schema(request.response_schema)
            config |= {"responseMimeType": "application/json", "responseSchema": schema}
        system = [{"text": message.content} for message in request.messages if message.role == "system"]
        turns = [_turn(message) for message in request.messages if message.role != "system"]
        body: dict[str, Any] = {"systemInstruction": {"parts": system} if system else None, "contents": turns}
        if request.tools.tools:
            body |= _tools(request.tools)
        body |= {"generationConfig": config, "safetySettings": safety}
        return {name: value for name, value in body.items() if value}


class _Reading(Reading):
    """Thoughts are counted and not shown."""

    FORM = "Gemini"

    def read(self, data: Mapping[str, Any]) -> tuple[str, list[ToolCallPiece]]:
        if counts := data.get("usageMetadata"):
            self.usage = _usage(counts)
        blocked = (data.get("promptFeedback") or {}).get("blockReason")
        candidates = data.get("candidates") or [{"finishReason": blocked}]
        parts = (candidates[0].get("content") or {}).get("parts") or []
        text = "".join(part.get("text", "") for part in parts if not part.get("thought"))
        asked = [part["functionCall"] for part in parts if "functionCall" in part]
        self.finish_reason = candidates[0].get("finishReason") or self.finish_reason
        return text, [_piece(len(self.calls) + place, call) for place, call in enumerate(asked)]

    def completion(self) -> Completion:
        """Gemini has no finish reason of its own for an answer that asks for tools."""
        if self.calls and self.finish_reason == "STOP":
            self.finish_reason = "tool_calls"
        return super().completion()


def gemini_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema as the subset that Gemini takes; what it does not know is left out, and validated here anyway."""
    plain = {key: value for key, value in schema.items() if key in _SCHEMA_KEYS}
    if "const" in schema:
        plain["enum"] = [schema["const"]]
    if isinstance(kinds := plain.get("type"), list):
        rest = [kind for kind in kinds if kind != "null"]
        plain |= {"type": rest[0] if rest else "string", "nullable": len(rest) < len(kinds)}
    if "properties" in plain:
        plain["properties"] = {name: gemini_schema(value) for name, value in plain["properties"].items()}
    if isinstance(plain.get("items"), Mapping):
        plain["items"] = gemini_schema(plain["items"])
    if "anyOf" in plain:
        plain["anyOf"] = [gemini_schema(option) for option in plain["anyOf"]]
    if "enum" in plain:
        plain["type"] = plain.get("type", "string")
    return plain


def _turn(message: Message) -> dict[str, Any]:
    if isinstance(message, ToolResult):
        response = {"name": message.name, "response": {"result": message.content}}
        return {"role": "user", "parts": [{"functionResponse": response}]}
    parts: list[dict[str, Any]] = [{"text": message.content}]
    if isinstance(message, ToolRequest):
        parts = parts if message.content else []
        calls = [{"name": call.name, "args": arguments_of(call)} for call in message.calls]
        parts += [{"functionCall": call} for call in calls]
    return {"role": "model" if message.role == "assistant" else "user", "parts": parts}


def _piece(index: int, call: Mapping[str, Any]) -> ToolCallPiece:
    """Gemini sends each call whole, with its arguments as an object, and often without an id."""
    arguments = orjson.dumps(call.get("args") or {}).decode()
    return ToolCallPiece(index, call.get("id") or f"call_{index}_{call['name']}", call["name"], arguments)


def _tools(choice: ToolChoice) -> dict[str, Any]:
    """OpenAI's tools and tool choice in Gemini's form."""
    functions = [tool["function"] for tool in choice.tools]
    declared = [
        {name: function[name] for name in ("name", "description") if name in function}
        | ({"parameters": gemini_schema(function["parameters"])} if function.get("parameters") else {})
        for function in functions
    ]
    modes = {"auto": "AUTO", "none": "NONE", "required": "ANY", None: "AUTO"}
    if isinstance(choice.mode, Mapping):
        only = (choice.mode.get("function") or {}).get("name")
        calling: dict[str, Any] = {"mode": "ANY", "allowedFunctionNames": [only]}
    else:
        calling = {"mode": modes.get(choice.mode, "AUTO")}
    return {"tools": [{"functionDeclarations": declared}], "toolConfig": {"functionCallingConfig": calling}}


def _usage(data: Mapping[str, Any]) -> Usage:
    return Usage(
        input_tokens=count(data.get("promptTokenCount")),
        output_tokens=count(data.get("candidatesTokenCount")),
        thought_tokens=count(data.get("thoughtsTokenCount")),
        cached_tokens=count(data.get("cachedContentTokenCount")),
        total_tokens=count(data.get("totalTokenCount")),
    )
