"""Builds what a provider is asked from a caller's variables: retrieves chunks and renders the template.

Nothing is sent here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow_project.adapters.providers.protocol import ProviderRequest
from mlflow_project.answering.searcher import Found
from mlflow_project.answering.warm import WarmRelease
from mlflow_project.domain.answer import Context
from mlflow_project.domain.release import Message
from mlflow_project.domain.tools import ToolChoice
from mlflow_project.errors import InvalidData
from mlflow_project.rules.templates import CONTEXT, chunks_block
from mlflow_project.telemetry.tracing import span

QUESTION = "question"
GIVEN = "given"
"""The id of the chunk, and of its document, for a context that the caller sent."""


@dataclass(frozen=True)
class CallOptions:
    """What a caller of a chat adds to a question.

    `following` are turns after the question: the model's requests for tools and the caller's results. `overrides` are
    provider parameters that this release lets a caller set. `tools` are the caller's own; the release's are added.
    """

    following: tuple[Message, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    tools: ToolChoice = field(default_factory=ToolChoice)


async def provider_request(
    warm: WarmRelease,
    variables: Mapping[str, str],
    context: str | None,
    history: Sequence[Message],
    options: CallOptions = CallOptions(),
) -> ProviderRequest:
    """Retrieve and render. A context that the caller sends stands before the question, in the question's slot, and
    counts as one more chunk.

    Raises:
        InvalidData: a variable is missing or surplus, or the history or the tools are not allowed by this release.
    """
    manifest = warm.release.manifest
    _check_history(warm, history)
    turns = (*history, *options.following)
    _check_text([*variables.values(), context or "", *(turn.content for turn in turns)])
    slot = question_slot(variables)
    question = variables[slot] if slot else "\n".join(variables.values())
    found = await _retrieved(warm, question)
    values = dict(variables)
    if context is not None and slot:
        values[slot] = f"Context: {context}\n\nQuery: {question}"
    with span("render"):
        messages = _rendered(warm, values, found.contexts, history)
    given = [_given(context)] if context else []
    return ProviderRequest(
        messages=(*messages, *options.following),
        contexts=(*given, *found.contexts),
        question=question,
        response_schema=manifest.response_schema,
        overrides=options.overrides,
        tools=_tools(warm, options.tools),
        words_only=found.words_only,
        not_reranked=found.not_reranked,
    )


def _tools(warm: WarmRelease, brought: ToolChoice) -> ToolChoice:
    """The release's own tools, then the caller's."""
    manifest = warm.release.manifest
    if brought.tools and not (manifest.callers is not None and manifest.callers.tools):
        raise InvalidData(f"{warm.release.label} takes no tools from a caller.")
    return ToolChoice((*(manifest.tools or ()), *brought.tools), brought.mode, brought.parallel)


def question_slot(variables: Mapping[str, str]) -> str | None:
    """Return the name of the variable that holds the question: `question`, or the only variable there is."""
    if QUESTION in variables or len(variables) != 1:
        return QUESTION if QUESTION in variables else None
    return next(iter(variables))


async def _retrieved(warm: WarmRelease, question: str) -> Found:
    if warm.searcher is None:
        return Found([])
    with span("retrieve") as step:
        found = await warm.searcher.search(question)
        step.note(chunks=len(found.contexts), words_only=found.words_only)
    return found


def _rendered(
    warm: WarmRelease, values: dict[str, str], found: Sequence[Context], history: Sequence[Message]
) -> tuple[Message, ...]:
    """A template without a slot for the chunks gets them before its last message's text."""
    if warm.searcher is None:
        return warm.template.render(values, history)
    if CONTEXT in warm.template.variables:
        return warm.template.render({**values, CONTEXT: chunks_block(found)}, history)
    *before, last = warm.template.render(values, history)
    return (*before, Message(last.role, f"{chunks_block(found)}\n\n{last.content}"))


def _given(text: str) -> Context:
    return Context(GIVEN, GIVEN, "", text, 0, len(text), 0.0)


def _check_history(warm: WarmRelease, history: Sequence[Message]) -> None:
    if not history:
        return
    allowed = {"user", "assistant", *(["system"] if warm.release.manifest.system_allowed else [])}
    if wrong := sorted({turn.role for turn in history} - allowed):
        raise InvalidData(f"{warm.release.label} takes no message of the role {', '.join(wrong)} from a caller.")


def _check_text(texts: Sequence[str]) -> None:
    """JSON can spell half a surrogate pair; no provider and no index can take one."""
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError as error:
        raise InvalidData("A text holds half of a surrogate pair, which is no character: send whole ones.") from error
