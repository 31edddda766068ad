"""One question to a warm release: retrieve, render, ask, validate, cite, count.

In: variables, and what the caller brings along. Out: an `Answer`, whole or as it comes. Nothing is recorded here.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from mlflow_project.adapters.providers.protocol import ProviderRequest
from mlflow_project.answering.citations import citations
from mlflow_project.answering.question import CallOptions, provider_request
from mlflow_project.answering.validation import validated
from mlflow_project.answering.warm import WarmRelease
from mlflow_project.domain.answer import Answer, Completion, Usage
from mlflow_project.domain.release import Message, Prices
from mlflow_project.domain.tools import ToolCallPiece
from mlflow_project.errors import ProviderError
from mlflow_project.rules.quoting import is_refusal
from mlflow_project.telemetry.tracing import span


async def answer(
    warm: WarmRelease,
    variables: Mapping[str, str],
    *,
    context: str | None = None,
    history: Sequence[Message] = (),
    options: CallOptions = CallOptions(),
    on_request: Callable[[ProviderRequest], None] | None = None,
) -> Answer:
    """Return the whole answer. `context` is a text that the caller sends beside the retrieved chunks; `history` are the
    turns before the question. `on_request` gets what the provider is asked, before it is.

    Raises:
        InvalidData: the variables do not fit the template.
        ProviderError: the provider failed.
        InvalidAnswer: it answered, but not with what the response schema asks for.
    """
    began = time.perf_counter()
    request = await provider_request(warm, variables, context, history, options)
    if on_request is not None:
        on_request(request)
    with span("ask"):
        completion = await warm.provider.complete(request)
    completion, value = await _valid(warm, request, completion)
    return _answer(warm, request, completion, value, began)


async def stream(
    warm: WarmRelease,
    variables: Mapping[str, str],
    *,
    context: str | None = None,
    history: Sequence[Message] = (),
    options: CallOptions = CallOptions(),
    on_request: Callable[[ProviderRequest], None] | None = None,
) -> AsyncGenerator[str | ToolCallPiece | Answer]:
    """Yield pieces of text and of tool calls as they come, and the whole `Answer` last.

    Closing it early tells the provider to stop. A release with a response schema yields its text in one piece, once it
    is valid. Raises as `answer` does.
    """
    began = time.perf_counter()
    request = await provider_request(warm, variables, context, history, options)
    if on_request is not None:
        on_request(request)
    if warm.schema is not None:
        with span("ask"):
            completion = await warm.provider.complete(request)
        completion, value = await _valid(warm, request, completion)
        if completion.text:
            yield completion.text
        for index, call in enumerate(completion.tool_calls):
            yield ToolCallPiece(index, call.id, call.name, call.arguments)
        yield _answer(warm, request, completion, value, began)
        return
    last: Completion | None = None
    stream = warm.provider.stream(request)
    with span("ask") as step:
        async with aclosing(stream) as deltas:
            async for delta in deltas:
                if delta.text or delta.tool_call is not None:
                    step.first()
                    yield delta.tool_call or delta.text
                last = delta.completion or last
    if last is None:
        raise ProviderError("The provider's stream ended without saying that it was complete.", kind="transport")
    yield _answer(warm, request, last, None, began)


async def _valid(warm: WarmRelease, request: ProviderRequest, completion: Completion) -> tuple[Completion, Any]:
    """The completion and its object, where the release has a response schema."""
    if warm.schema is None:
        return completion, None
    with span("validate"):
        return await validated(warm, request, completion)


def _answer(warm: WarmRelease, request: ProviderRequest, completion: Completion, value: Any, began: float) -> Answer:
    return Answer(
        text=completion.text,
        object=value,
        contexts=request.contexts,
        citations=citations(completion, request.contexts),
        usage=completion.usage,
        finish_reason=completion.finish_reason,
        refused=is_refusal(completion.text),
        cost_usd=cost(completion.usage, warm.release.manifest.prices),
        latency_ms=1000 * (time.perf_counter() - began),
        tool_calls=completion.tool_calls,
        messages=request.messages,
    )


def cost(usage: Usage, prices: Prices | None) -> float | None:
    """Return the cost in USD by the release's price table, or None without prices or counts. Thoughts are output."""
    if prices is None or usage.input_tokens is None:
        return None
    output = (usage.output_tokens or 0) + (usage.thought_tokens or 0)
    return (usage.input_tokens * prices.input_per_million + output * prices.output_per_million) / 1_000_000
