"""One question to a warm release: retrieve, render, ask, validate, cite, count.

In: variables, and what the caller brings along. Out: an `Answer`, whole or as it comes. Nothing is recorded here.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from mlflow_project.answering.citations import citations
from mlflow_project.answering.question import Asked, asked
from mlflow_project.answering.validation import validated
from mlflow_project.answering.warm import WarmRelease
from mlflow_project.domain.answer import Answer, Completion, Usage
from mlflow_project.domain.release import Message, Prices
from mlflow_project.errors import ProviderError
from mlflow_project.rules.quoting import is_refusal
from mlflow_project.telemetry.tracing import span


async def answer(
    warm: WarmRelease,
    variables: Mapping[str, str],
    *,
    context: str | None = None,
    history: Sequence[Message] = (),
) -> Answer:
    """The whole answer. `context` is a text that the caller gives beside what is retrieved; `history`: earlier turns.

    Raises:
        InvalidData: the variables do not fit the template.
        ProviderError: the provider failed.
        InvalidAnswer: it answered, but not with what the response schema asks for.
    """
    began = time.perf_counter()
    question = asked(warm, variables, context, history)
    completion, value = await _completed(warm, question)
    return _answer(warm, question, completion, value, began)


async def stream(
    warm: WarmRelease,
    variables: Mapping[str, str],
    *,
    context: str | None = None,
    history: Sequence[Message] = (),
) -> AsyncGenerator[str | Answer]:
    """Pieces of text as they come, and the whole `Answer` last. Close it early and the provider is told to stop.

    A release with a response schema gives its text in one piece, once it is valid. Raises as `answer` does.
    """
    began = time.perf_counter()
    question = asked(warm, variables, context, history)
    if warm.validator is not None:
        completion, value = await _completed(warm, question)
        if completion.text:
            yield completion.text
        yield _answer(warm, question, completion, value, began)
        return
    last: Completion | None = None
    stream = warm.provider.stream(question.messages, question.contexts, question.parameters)
    with span("ask") as step:
        async with aclosing(stream) as deltas:
            async for delta in deltas:
                if delta.text:
                    step.first()
                    yield delta.text
                last = delta.completion or last
    if last is None:
        raise ProviderError("The provider's stream ended without saying that it was complete.", kind="transport")
    yield _answer(warm, question, last, None, began)


async def _completed(warm: WarmRelease, question: Asked) -> tuple[Completion, Any]:
    with span("ask"):
        completion = await warm.provider.complete(question.messages, question.contexts, question.parameters)
    if warm.validator is None:
        return completion, None
    with span("validate"):
        return await validated(warm, question, completion)


def _answer(warm: WarmRelease, question: Asked, completion: Completion, value: Any, began: float) -> Answer:
    return Answer(
        text=completion.text,
        object=value,
        contexts=question.contexts,
        citations=citations(completion, question.contexts),
        usage=completion.usage,
        finish_reason=completion.finish_reason,
        refused=is_refusal(completion.text),
        cost_usd=cost(completion.usage, warm.release.manifest.prices),
        latency_ms=1000 * (time.perf_counter() - began),
    )


def cost(usage: Usage, prices: Prices | None) -> float | None:
    """USD by the release's price table; thoughts are paid as output. None without prices or counts."""
    if prices is None or usage.input_tokens is None:
        return None
    output = (usage.output_tokens or 0) + (usage.thought_tokens or 0)
    return (usage.input_tokens * prices.input_per_million + output * prices.output_per_million) / 1_000_000
