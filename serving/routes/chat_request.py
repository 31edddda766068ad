"""What `/v1/chat/completions` takes, and how a conversation becomes a template's variables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mlflow_project.domain.release import Message
from mlflow_project.errors import InvalidData
from mlflow_project.rules.json_schema import Schema
from serving.problems import BadRequest


class TextPart(BaseModel):
    """The one kind of content part that prompts take."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """A turn."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None
    refusal: None = None

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """`include_usage`: a last event with the token counts."""

    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False


class ResponseFormat(BaseModel):
    """The release's own response schema decides; a caller's is checked besides."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class ChatRequest(BaseModel):
    """OpenAI's request as far as a release leaves it open. Temperature and the like are pinned by the release."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"model": "qa", "messages": [{"role": "user", "content": "What does a gate decide?"}]}]
        },
    )
    model: str = Field(min_length=1, max_length=300)
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    metadata: dict[str, str] | None = None
    response_format: ResponseFormat | None = None
    n: Literal[1] | None = None
    user: str | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def texts(self) -> Iterator[tuple[str, str]]:
        """Every text of the caller's, after where it stands."""
        for place, turn in enumerate(self.messages):
            yield f"messages[{place}]", turn.text
        for name, text in (self.metadata or {}).items():
            yield f"metadata.{name}", text

    @property
    def asks_for_json(self) -> bool:
        return self.response_format is not None and self.response_format.type != "text"

    def callers_schema(self) -> Schema | None:
        """The schema that the caller's client will read the answer with.

        Raises:
            BadRequest: it is no JSON schema, refers to something outside itself, or is too large.
        """
        given = self.response_format.json_schema if self.response_format is not None else None
        if given is None or given.get("schema") is None:
            return None
        if self.response_format is not None and self.response_format.type != "json_schema":
            raise BadRequest("`response_format.json_schema` needs `response_format.type` to be `json_schema`.")
        if not isinstance(given["schema"], dict):
            raise BadRequest("`response_format.json_schema.schema` must be a JSON object.")
        try:
            return Schema(given["schema"])
        except InvalidData as error:
            raise BadRequest(f"`response_format.json_schema.schema` cannot be used: {error}.") from error


def conversation(body: ChatRequest, system_allowed: bool) -> tuple[str, tuple[Message, ...]]:
    """The question, which is the last message, and the turns before it.

    Raises:
        BadRequest: the last message is not a user's, or a system message came that the release does not allow.
    """
    *earlier, last = body.messages
    if last.role != "user":
        raise BadRequest("The last message must be a user's: it is the question.")
    if not system_allowed and any(turn.role in {"system", "developer"} for turn in earlier):
        raise BadRequest("This release brings its own system message and takes none from a caller.")
    return last.text, tuple(Message("system" if t.role == "developer" else t.role, t.text) for t in earlier)


def variables_for(wanted: Collection[str], question: str, given: Mapping[str, str]) -> dict[str, str]:
    """The question under the name that the template has for it, and the caller's other variables.

    Raises:
        BadRequest: the template does not show which variable is the question.
    """
    open_ = [name for name in wanted if name not in {"context", "history", *given}]
    if "question" in open_ or not open_:
        return {**given, "question": question}
    if len(open_) > 1:
        raise BadRequest(f"This prompt has the variables {', '.join(sorted(open_))}: give all but one in `metadata`.")
    return {**given, open_[0]: question}
