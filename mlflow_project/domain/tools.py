"""Tools: functions that a model may ask the caller to run, in the form of OpenAI's function calling.

A turn in which the model asks is a `ToolRequest`; the caller's reply to one call is a `ToolResult`. Both are messages
of a conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_project.domain.release import Message


@dataclass(frozen=True)
class ToolCall:
    """One function that the model asks for. `arguments` is JSON text, as the model wrote it: it may be invalid."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ToolCallPiece:
    """A part of a streamed tool call: `index` says which call of the answer, `arguments` continues its JSON text.

    `id` and `name` are empty after the first piece of a call.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True)
class ToolRequest(Message):
    """A turn of the assistant that asks for tools; `content` may be empty."""

    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class ToolResult(Message):
    """The caller's reply to the call with this id; its role is `tool` and `content` is the result."""

    call_id: str = ""
    name: str = ""


def joined(pieces: Sequence[ToolCallPiece]) -> tuple[ToolCall, ...]:
    """The whole calls of a stream's pieces, in the order of their indexes."""
    calls: dict[int, list[ToolCallPiece]] = {}
    for piece in pieces:
        calls.setdefault(piece.index, []).append(piece)
    return tuple(_joined(calls[index]) for index in sorted(calls))


def _joined(pieces: Sequence[ToolCallPiece]) -> ToolCall:
    """The whole call of its pieces: the first id and name, and all arguments."""
    ids, names = [piece.id for piece in pieces if piece.id], [piece.name for piece in pieces if piece.name]
    return ToolCall(next(iter(ids), ""), next(iter(names), ""), "".join([piece.arguments for piece in pieces]))


@dataclass(frozen=True)
class ToolChoice:
    """Which tools a request offers. `mode` is `auto`, `none`, `required`, or OpenAI's object that names one tool."""

    tools: tuple[Mapping[str, Any], ...] = ()
    mode: str | Mapping[str, Any] | None = None
    parallel: bool | None = None
