"""What a provider is: it takes a `ProviderRequest` and returns a `Completion`, whole or as a stream of `Delta`.

What a release pins for its provider is given when the provider is made. A `ProviderRequest` holds only what one call
adds to that.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlflow_project.domain.answer import Completion, Context
from mlflow_project.domain.release import Message
from mlflow_project.domain.tools import ToolCallPiece, ToolChoice

LONG_CHARS = 8_000


@dataclass(frozen=True)
class ProviderRequest:
    """One call: the rendered messages, the chunks behind them, and the question before it was rendered.

    `response_schema` is the JSON schema that the answer must fit. `overrides` are parameters of this call that take the
    place of pinned ones, by OpenAI's names (`temperature`, `max_tokens`, ...). `words_only`: the chunks were found by
    words alone, because the endpoint that embeds questions failed. `not_reranked`: they are in the order of the search,
    because the endpoint that orders them failed.
    """

    messages: tuple[Message, ...]
    contexts: tuple[Context, ...] = ()
    question: str = ""
    response_schema: Mapping[str, Any] | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    tools: ToolChoice = field(default_factory=ToolChoice)
    words_only: bool = False
    not_reranked: bool = False

    @property
    def is_long(self) -> bool:
        """Whether its texts are so long that looking at each word of them does not belong on the event loop."""
        return len(self.question) + sum([len(chunk.text) for chunk in self.contexts]) > LONG_CHARS


@dataclass(frozen=True)
class Delta:
    """A piece of a streamed answer. The last one has `completion` set: the whole text, usage, finish reason."""

    text: str = ""
    completion: Completion | None = None
    tool_call: ToolCallPiece | None = None


class Provider(Protocol):
    """Safe to use by many requests at once.

    Raises:
        ProviderError: it did not answer, or not in its own protocol.
        InvalidData: the messages or parameters are not what it can take.
    """

    async def complete(self, request: ProviderRequest) -> Completion:
        """Ask, and wait for the whole answer."""
        ...

    def stream(self, request: ProviderRequest) -> AsyncGenerator[Delta]:
        """Ask, and yield the answer as it comes. Closing it early (`aclosing`) tells the provider to stop."""
        ...


def count(value: object) -> int | None:
    """Return a number of tokens as a provider reports it, or None when the value is not a count."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
