"""Reads the body of `POST /v1/chat/completions`: every field of OpenAI's API, https://platform.openai.com/docs.

Content is text only. `variables` is an addition of ours: values for the template's slots other than the question.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mlflow_project.domain.release import Message
from mlflow_project.domain.tools import ToolCall, ToolChoice, ToolRequest, ToolResult
from mlflow_project.web.problems import BadRequest
from serving.routes.openai.model_request import ModelRequest, schema_of

MOST_TOOLS = 128
PARAMETERS = (
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "reasoning_effort",
    "verbosity",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "moderation",
)
"""Generation parameters: the release pins them, and may let a caller override them within bounds."""


class TextPart(BaseModel):
    """A part of a message's content. Prompts take text only."""

    type: Literal["text", "refusal"]
    text: str = ""
    refusal: str | None = None


Content = str | list[TextPart] | None


class CalledFunction(BaseModel):
    """The function of a tool call. `arguments` is JSON text."""

    name: str = Field(max_length=256)
    arguments: str = ""


class CalledTool(BaseModel):
    """A tool call of an earlier turn of the assistant."""

    id: str = Field(max_length=256)
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(BaseModel):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[CalledTool] | None = Field(default=None, max_length=MOST_TOOLS)
    tool_call_id: str | None = Field(default=None, max_length=256)

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or part.refusal or "" for part in self.content or ())


class Function(BaseModel):
    """A function that the model may ask the caller to run."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(BaseModel):
    """A tool in OpenAI's form. Only functions are taken: the release runs no tools of its own."""

    type: Literal["function"]
    function: Function

    def to_dict(self) -> dict[str, Any]:
        """The tool as a provider gets it."""
        return self.model_dump(exclude_none=True)


class StreamOptions(BaseModel):
    """`include_usage` adds a last event with the token counts."""

    include_usage: bool = False


class ResponseFormat(BaseModel):
    """The release's own response schema decides; an answer must fit the caller's besides."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class ChatRequest(BaseModel):
    """OpenAI's request. What the release pins stays pinned: the header `X-Ignored-Parameters` of the response names the
    parameters that had no effect."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"model": "qa", "messages": [{"role": "user", "content": "What does a gate decide?"}]}]
        },
    )
    model: str = Field(min_length=1, max_length=300)
    messages: list[ChatMessage] = Field(min_length=1, max_length=2_000)
    variables: dict[str, str] = Field(default_factory=dict, max_length=64)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = Field(default=None, max_length=MOST_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    n: Literal[1] | None = None
    temperature: Annotated[float | None, Field(allow_inf_nan=False)] = None
    top_p: Annotated[float | None, Field(allow_inf_nan=False)] = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    frequency_penalty: Annotated[float | None, Field(allow_inf_nan=False)] = None
    presence_penalty: Annotated[float | None, Field(allow_inf_nan=False)] = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    moderation: Any = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Any = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    functions: list[Any] | None = None
    function_call: Any = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def model_request(self) -> ModelRequest:
        """The request in the form that both of OpenAI's protocols share.

        Raises:
            BadRequest: the response format or a message does not have its form.
        """
        if self.functions is not None or self.function_call is not None:
            raise BadRequest("`functions` and `function_call` are OpenAI's old form: send `tools` and `tool_choice`.")
        parameters = {name: getattr(self, name) for name in PARAMETERS}
        if self.max_completion_tokens is not None:
            parameters["max_tokens"] = self.max_completion_tokens
        if not self.logprobs:
            parameters["logprobs"] = None
        return ModelRequest(
            model=self.model,
            user=self.user or "",
            turns=_turns(self.messages),
            variables=self.variables,
            parameters=parameters,
            tools=ToolChoice(
                tuple(tool.to_dict() for tool in self.tools or ()), self.tool_choice, self.parallel_tool_calls
            ),
            schema=self._schema(),
            wants_json=self.response_format is not None and self.response_format.type != "text",
        )

    def _schema(self) -> Any:
        given = self.response_format.json_schema if self.response_format is not None else None
        if given is None or given.get("schema") is None:
            return None
        if self.response_format is not None and self.response_format.type != "json_schema":
            raise BadRequest("`response_format.json_schema` needs `response_format.type` to be `json_schema`.")
        return schema_of("response_format.json_schema.schema", given["schema"])


def _turns(messages: list[ChatMessage]) -> list[Message]:
    """Domain messages. A tool's result names the function that it answers, which OpenAI's form leaves out."""
    called = {call.id: call.function.name for message in messages for call in message.tool_calls or ()}
    return [_turn(message, called) for message in messages]


def _turn(message: ChatMessage, called: dict[str, str]) -> Message:
    if message.role == "tool":
        if message.tool_call_id is None or message.tool_call_id not in called:
            raise BadRequest(f"A tool's result answers the call {message.tool_call_id!r}, which no message made.")
        return ToolResult("tool", message.text, message.tool_call_id, called[message.tool_call_id])
    if message.role == "assistant" and message.tool_calls:
        calls = tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls)
        return ToolRequest("assistant", message.text, calls)
    return Message("system" if message.role == "developer" else message.role, message.text)
