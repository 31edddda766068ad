"""Google's Gemini by its native API: `models/…:generateContent`, and `:streamGenerateContent` for streams.

The address is `LLM_API_URL`; the model in it gives way to the one that the release pins. The key goes into the header
`x-goog-api-key`, never into the address. Pinned parameters: those of `generationConfig` by their own names
(`temperature`, `topP`, `maxOutputTokens`, `thinkingConfig`, …) or by those of MLflow's model configuration (`top_p`,
`max_tokens`, …), `safety_settings`, and those of `patience`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields
from typing import Any

import orjson

from mlflow_project.adapters.providers.parameters import refuse_unknown
from mlflow_project.adapters.providers.patience import Patience
from mlflow_project.adapters.providers.protocol import Delta, ProviderRequest, count
from mlflow_project.adapters.providers.upstream import Network, Upstream
from mlflow_project.domain.answer import Completion, Usage
from mlflow_project.domain.release import Message, ProviderChoice
from mlflow_project.domain.tools import ToolCall, ToolCallPiece, ToolChoice, ToolRequest, ToolResult, joined
from mlflow_project.errors import ConfigError, InvalidData, ProviderError
from mlflow_project.settings import ProviderSettings

_ADDRESS = re.compile(r"(?P<before>.*/models/)(?P<model>[^/:]+):(?:stream)?[gG]enerateContent(?:\?.*)?")
_PATIENCE = frozenset(field.name for field in fields(Patience))
_CONFIG = frozenset(
    {"candidateCount", "frequencyPenalty", "logprobs", "maxOutputTokens", "mediaResolution", "presencePenalty"}
    | {"responseLogprobs", "seed", "stopSequences", "temperature", "thinkingConfig", "topK", "topP"}
)
_MLFLOW_NAMES = {
    "max_tokens": "maxOutputTokens",
    "top_p": "topP",
    "top_k": "topK",
    "stop_sequences": "stopSequences",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
_OPENAI_NAMES = {**_MLFLOW_NAMES, "stop": "stopSequences"}
_SCHEMA_KEYS = frozenset(
    {"anyOf", "description", "enum", "example", "format", "items", "maxItems", "maxLength", "maxProperties", "maximum"}
    | {"minItems", "minLength", "minProperties", "minimum", "nullable", "pattern", "properties", "propertyOrdering"}
    | {"required", "title", "type"}
)


@dataclass(frozen=True)
class Gemini:
    """`address` ends before the colon of the method."""

    upstream: Upstream
    address: str
    config: Mapping[str, Any]
    safety: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, choice: ProviderChoice, settings: ProviderSettings, network: Network) -> Gemini:
        """Read and check what the release pins and what is set here.

        Raises:
            InvalidData: a parameter is unknown or wrong.
            ConfigError: there is no key, or the address is not one of Gemini's form.
        """
        parameters = {_MLFLOW_NAMES.get(name, name): value for name, value in choice.parameters.items()}
        refuse_unknown("gemini", parameters, _CONFIG | _PATIENCE | {"safety_settings"})
        secret = settings.llm_api_key.get_secret_value() if settings.llm_api_key else ""
        if not secret:
            raise ConfigError("This prompt asks Gemini, and there is no key: set LLM_API_KEY.")
        match = _ADDRESS.fullmatch(settings.llm_api_url)
        if match is None:
            raise ConfigError("This prompt asks Gemini: LLM_API_URL must end with `/models/<model>:generateContent`.")
        return cls(
            upstream=Upstream("Gemini", {"x-goog-api-key": secret}, secret, Patience.of(parameters), network),
            address=match["before"] + (choice.model or match["model"]),
            config={name: value for name, value in parameters.items() if name in _CONFIG},
            safety=parameters.get("safety_settings", ()),
        )

    async def complete(self, request: ProviderRequest) -> Completion:
        """Ask and wait for the whole."""
        data = await self.upstream.whole(f"{self.address}:generateContent", self._body(request), request.messages)
        read = _Reading()
        read.add(data)
        return read.completion()

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Delta]:
        """Ask, and hand on each piece."""
        read = _Reading()
        url = f"{self.address}:streamGenerateContent?alt=sse"
        async with aclosing(self.upstream.pieces(url, self._body(request), request.messages)) as pieces:
            async for piece in pieces:
                for delta in read.add(self._event(piece, request.messages)):
                    yield delta
        if read.cut:
            raise ProviderError("Gemini's stream was cut before its end.", kind="transport")
        yield Delta(completion=read.completion())

    def _body(self, request: ProviderRequest) -> dict[str, Any]:
        config = {**self.config, **{_OPENAI_NAMES.get(name, name): value for name, value in request.overrides.items()}}
        if request.response_schema is not None:
            schema = gemini_schema(request.response_schema)
            config |= {"responseMimeType": "application/json", "responseSchema": schema}
        system = [{"text": message.content} for message in request.messages if message.role == "system"]
        turns = [_turn(message) for message in request.messages if message.role != "system"]
        body: dict[str, Any] = {"systemInstruction": {"parts": system} if system else None, "contents": turns}
        if request.tools.tools:
            body |= _tools(request.tools)
        body |= {"generationConfig": config, "safetySettings": list(self.safety)}
        return {name: value for name, value in body.items() if value}

    def _event(self, piece: str, messages: Sequence[Message]) -> dict[str, Any]:
        try:
            data = orjson.loads(piece)
        except orjson.JSONDecodeError as error:
            raise ProviderError("Gemini's stream holds something that is no JSON.", kind="invalid_json") from error
        if isinstance(data, dict) and isinstance(data.get("error"), dict):
            raise self.upstream.refusal(data["error"].get("code"), piece.encode(), messages)
        return data if isinstance(data, dict) else {}


class _Reading:
    """What was received so far. Thoughts are counted and not shown."""

    def __init__(self) -> None:
        self._finish_reason: str | None = None
        self._texts: list[str] = []
        self._calls: list[ToolCallPiece] = []
        self._usage = Usage()

    def add(self, data: Mapping[str, Any]) -> list[Delta]:
        """Read one answer, or one event of a stream, and return what it adds."""
        try:
            if counts := data.get("usageMetadata"):
                self._usage = _usage(counts)
            blocked = (data.get("promptFeedback") or {}).get("blockReason")
            candidates = data.get("candidates") or [{"finishReason": blocked}]
            parts = (candidates[0].get("content") or {}).get("parts") or []
            text = "".join(part.get("text", "") for part in parts if not part.get("thought"))
            asked = [part["functionCall"] for part in parts if "functionCall" in part]
            calls = [_piece(len(self._calls) + place, call) for place, call in enumerate(asked)]
            self._finish_reason = candidates[0].get("finishReason") or self._finish_reason
        except (AttributeError, LookupError, TypeError) as error:
            raise ProviderError("Gemini's answer does not have Gemini's form.", kind="invalid_json") from error
        if text:
            self._texts.append(text)
        self._calls += calls
        return [*([Delta(text)] if text else []), *(Delta(tool_call=call) for call in calls)]

    @property
    def cut(self) -> bool:
        """Whether a stream that ended now was cut. A stream that brought nothing has no end to lack."""
        return bool(self._texts or self._calls) and self._finish_reason is None

    def completion(self) -> Completion:
        """The whole; without any text there was no candidate, or it was blocked."""
        text, calls = "".join(self._texts) or None, joined(self._calls)
        finish = "tool_calls" if calls and self._finish_reason == "STOP" else self._finish_reason
        return Completion(text, self._usage, finish, tool_calls=calls)


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
        calls = [{"name": call.name, "args": _arguments(call)} for call in message.calls]
        parts += [{"functionCall": call} for call in calls]
    return {"role": "model" if message.role == "assistant" else "user", "parts": parts}


def _arguments(call: ToolCall) -> Any:
    try:
        return orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError as error:
        raise InvalidData(f"The arguments of the tool call {call.id!r} are not JSON: {error}.") from error


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
