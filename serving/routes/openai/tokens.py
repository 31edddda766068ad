"""Token counts of an answer: as the provider reported them, or estimated by a tokenizer where it reported none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mlflow_project.adapters.retrieval.embeddings import count_tokens
from mlflow_project.domain.answer import Answer, Usage


@dataclass(frozen=True)
class Tokens:
    """`estimated`: our own tokenizer has counted, which differs from the model's by some per cent."""

    input: int
    output: int
    cached: int = 0
    thoughts: int = 0
    estimated: bool = False

    @property
    def total(self) -> int:
        """Input and output; the output includes the thoughts."""
        return self.input + self.output


async def tokens_of(answer: Answer) -> Tokens:
    """Return the counts of an answer. An estimate is made in a thread: a long text takes milliseconds."""
    if answer.usage.total_tokens is not None:
        return _reported(answer.usage)
    texts = [answer.text or "", *(call.arguments for call in answer.tool_calls)]
    asked, written = await asyncio.to_thread(_counted, [message.content for message in answer.messages], texts)
    return Tokens(asked, written, estimated=True)


def _reported(usage: Usage) -> Tokens:
    thoughts = usage.thought_tokens or 0
    return Tokens(usage.input_tokens or 0, (usage.output_tokens or 0) + thoughts, usage.cached_tokens or 0, thoughts)


def _counted(asked: list[str], written: list[str]) -> tuple[int, int]:
    return sum(map(count_tokens, asked)), sum(map(count_tokens, written))
