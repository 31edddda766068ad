"""What a provider is: rendered messages, the contexts behind them, and parameters in; a completion out.

What a release pins for its provider is given when the provider is made. The parameters of a call are those that only
the call knows: `question`, what was asked before it was rendered, and `response_schema`, where the release has one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mlflow_project.domain.answer import Completion, Context
from mlflow_project.domain.release import Message

QUESTION = "question"
RESPONSE_SCHEMA = "response_schema"


@dataclass(frozen=True)
class Delta:
    """A piece of a streamed answer. The last one has `completion` set: the whole text, usage, finish reason."""

    text: str = ""
    completion: Completion | None = None


class Provider(Protocol):
    """Safe to use by many requests at once.

    Raises:
        ProviderError: it did not answer, or not in its own protocol.
        InvalidData: the messages or parameters are not what it can take.
    """

    async def complete(
        self, messages: Sequence[Message], contexts: Sequence[Context], parameters: Mapping[str, Any]
    ) -> Completion:
        """The whole answer."""
        ...

    def stream(
        self, messages: Sequence[Message], contexts: Sequence[Context], parameters: Mapping[str, Any]
    ) -> AsyncGenerator[Delta]:
        """The answer as it comes. Closing it early (`aclosing`) tells the provider to stop."""
        ...

    async def aclose(self) -> None:
        """Give back what it holds; what it shares with other releases stays open for them."""
        ...


def count(value: object) -> int | None:
    """A number of tokens as a provider reports it; None where what it reports is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
