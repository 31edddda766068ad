"""Questions and answers: what goes into a prompt, what comes out of a provider, and the cases an evaluation asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_project.domain.release import Message
from mlflow_project.domain.tools import ToolCall


@dataclass(frozen=True)
class Context:
    """A retrieved chunk: exact code-point offsets into its document, and the score that it was ranked by. `pages` are
    the pages or slides that the chunk is on, where its document has any."""

    chunk_id: str
    document_id: str
    title: str
    text: str
    start: int
    end: int
    score: float
    pages: tuple[int, ...] = ()


@dataclass(frozen=True)
class Usage:
    """Token counts as the provider reported them; None where it reported none."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    thought_tokens: int | None = None
    cached_tokens: int | None = None
    total_tokens: int | None = None


@dataclass(frozen=True)
class Completion:
    """What a provider returns. `text` is None when it answered without a candidate, or only asked for tools.

    `quotes` are (chunk_id, start, end) spans of the document that the answer rests on, where the provider knows them.
    """

    text: str | None
    usage: Usage = Usage()
    finish_reason: str | None = None
    quotes: tuple[tuple[str, int, int], ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class Citation:
    """A place in a document that an answer rests on, in code points. `pages` are those of the cited chunk."""

    chunk_id: str
    document_id: str
    start: int
    end: int
    pages: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One answered question. `object` is the parsed response where the release has a schema. `refused` is true when
    the answer says that it does not know. `messages` are the rendered messages that the provider was sent. Times are in
    milliseconds.
    """

    text: str | None
    object: Any = None
    contexts: tuple[Context, ...] = ()
    citations: tuple[Citation, ...] = ()
    usage: Usage = Usage()
    finish_reason: str | None = None
    refused: bool = False
    cost_usd: float | None = None
    latency_ms: float = 0.0
    tool_calls: tuple[ToolCall, ...] = ()
    messages: tuple[Message, ...] = field(default=(), repr=False)

    @property
    def output_chars(self) -> int:
        """Characters of everything that the provider wrote, the arguments of tool calls included."""
        return len(self.text or "") + sum(len(call.name) + len(call.arguments) for call in self.tool_calls)


@dataclass(frozen=True)
class Case:
    """One evaluation case. `expected` empty means unanswerable: the right answer is to say so. `origin` says where a
    case that nobody wrote comes from."""

    id: str
    question: str
    expected: tuple[str, ...] = ()
    context: str | None = None
    document_id: str | None = None
    quote: str | None = None
    tags: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    origin: str | None = None
