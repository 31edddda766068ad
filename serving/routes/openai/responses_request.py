"""Reads the body of `POST /v1/responses`: OpenAI's Responses API, https://platform.openai.com/docs/api-reference.

Input is text only. No response is stored here, so a conversation is sent whole with each request.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mlflow_project.domain.release import Message
from mlflow_project.domain.tools import ToolCall, ToolChoice, ToolRequest, ToolResult
from mlflow_project.rules.json_schema import Schema
from mlflow_project.web.problems import BadRequest
from serving.routes.openai.chat_request import MOST_TOOLS, Function
from serving.routes.openai.model_request import ModelRequest, schema_of

_NEEDS_STORAGE = ("previous_response_id", "conversation", "prompt")
_IGNORED = ("top_logprobs", "reasoning", "truncation", "max_tool_calls", "context_management", "moderation", "image")


class InputText(BaseModel):
    """A part of a message. Prompts take text only."""

    type: Literal["input_text", "output_text", "refusal", "text"]
    text: str = ""
    refusal: str | None = None


class InputMessage(BaseModel):
    """One turn of the conversation."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[InputText]
    id: str | None = None
    status: str | None = None

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or part.refusal or "" for part in self.content)


class FunctionCall(BaseModel):
    """A function that the model asked for in an earlier response."""

    type: Literal["function_call"]
    call_id: str = Field(max_length=256)
    name: str = Field(max_length=256)
    arguments: str
    id: str | None = None
    status: str | None = None


class FunctionCallOutput(BaseModel):
    """The caller's result of such a call."""

    type: Literal["function_call_output"]
    call_id: str = Field(max_length=256)
    output: str | list[InputText]
    id: str | None = None
    status: str | None = None

    @property
    def text(self) -> str:
        """The result as one text."""
        return self.output if isinstance(self.output, str) else "".join(part.text for part in self.output)


class FunctionTool(Function):
    """A tool in the form of this API, which has the function's fields at the top."""

    type: Literal["function"]

    def to_dict(self) -> dict[str, Any]:
        """The tool as a provider gets it."""
        return {"type": "function", "function": self.model_dump(exclude_none=True, exclude={"type"})}


class TextFormat(BaseModel):
    """The format of the answer; `json_schema` has `name` and `schema`."""

    model_config = ConfigDict(populate_by_name=True)
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None
    description: str | None = None


class Text(BaseModel):
    """How the answer is written."""

    format: TextFormat | None = None
    verbosity: str | None = None


Item = InputMessage | FunctionCall | FunctionCallOutput


class ResponsesRequest(BaseModel):
    """OpenAI's request. What the release pins stays pinned, as in `/v1/chat/completions`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"model": "qa", "input": "What does a gate decide?"}]}
    )
    model: str = Field(min_length=1, max_length=300)
    input: str | Annotated[list[Item], Field(min_length=1, max_length=2_000)]
    instructions: str | None = None
    variables: dict[str, str] = Field(default_factory=dict, max_length=64)
    stream: bool | None = None
    text: Text | None = None
    tools: list[FunctionTool] | None = Field(default=None, max_length=MOST_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    temperature: Annotated[float | None, Field(allow_inf_nan=False)] = None
    top_p: Annotated[float | None, Field(allow_inf_nan=False)] = None
    max_output_tokens: int | None = None
    top_logprobs: int | None = None
    reasoning: dict[str, Any] | None = None
    truncation: str | None = None
    max_tool_calls: int | None = None
    context_management: Any = None
    moderation: Any = None
    image: Any = None
    background: Literal[False] | None = None
    background_options: Any = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    access_programs: Any = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Any = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    stream_options: dict[str, Any] | None = None

    def model_request(self) -> ModelRequest:
        """The request in the form that both of OpenAI's protocols share.

        Raises:
            BadRequest: it rests on something that is stored, or its format or a message does not have its form.
        """
        for name in _NEEDS_STORAGE:
            if getattr(self, name) is not None:
                raise BadRequest(f"`{name}` needs stored responses, and none are stored here: send the conversation.")
        parameters = {name: getattr(self, name) for name in ("temperature", "top_p", *_IGNORED)}
        parameters["max_tokens"] = self.max_output_tokens
        parameters["verbosity"] = self.text.verbosity if self.text is not None else None
        asked = self.text.format if self.text is not None else None
        return ModelRequest(
            model=self.model,
            user=self.user or "",
            turns=self._turns(),
            variables=self.variables,
            parameters=parameters,
            tools=ToolChoice(
                tuple(tool.to_dict() for tool in self.tools or ()),
                _tool_choice(self.tool_choice),
                self.parallel_tool_calls,
            ),
            schema=_schema(asked),
            wants_json=asked is not None and asked.type != "text",
        )

    def _turns(self) -> list[Message]:
        turns = [Message("system", self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            return [*turns, Message("user", self.input)]
        called: dict[str, str] = {}
        for item in self.input:
            if isinstance(item, InputMessage):
                turns.append(Message("system" if item.role == "developer" else item.role, item.text))
            elif isinstance(item, FunctionCall):
                called[item.call_id] = item.name
                call = ToolCall(item.call_id, item.name, item.arguments)
                before = turns[-1] if turns else None
                if isinstance(before, ToolRequest):  # calls of one response are items of their own here
                    turns[-1] = ToolRequest("assistant", before.content, (*before.calls, call))
                else:
                    turns.append(ToolRequest("assistant", "", (call,)))
            elif item.call_id not in called:
                raise BadRequest(f"An output answers the call {item.call_id!r}, which no item before it made.")
            else:
                turns.append(ToolResult("tool", item.text, item.call_id, called[item.call_id]))
        return turns


def _schema(asked: TextFormat | None) -> Schema | None:
    if asked is None or asked.type != "json_schema" or asked.schema_ is None:
        return None
    return schema_of("text.format.schema", asked.schema_)


def _tool_choice(given: Any) -> Any:
    """This API names a tool as `{type, name}`, chat completions as `{type, function: {name}}`."""
    if isinstance(given, dict) and "name" in given:
        return {"type": "function", "function": {"name": given["name"]}}
    return given
