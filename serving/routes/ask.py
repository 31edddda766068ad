"""Asks the release that an alias points at: the one call that every answering route makes.

In: a prompt's name, an alias, and a question. Out: the answer, whole or in pieces. The release stays loaded until the
answer is out, and every answer or failure is reported once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any

from fastapi import Header

from mlflow_project import answering
from mlflow_project.answering import CallOptions
from mlflow_project.domain.answer import Answer
from mlflow_project.domain.release import Kind, Message
from mlflow_project.domain.tools import ToolCallPiece
from mlflow_project.errors import InvalidAnswer, NotFound, Refused
from mlflow_project.models.sample import RowSample
from mlflow_project.telemetry.tracing import span
from mlflow_project.web.problems import BadRequest, TooLarge
from serving.after.shadow import Again, Copy
from serving.call import Call, Finished
from serving.live.shadows import LoadedShadow
from serving.live.shelf import LiveRelease
from serving.server import Server

Alias = Annotated[str, Header(alias="X-Alias", max_length=64, description="Which alias answers.", examples=["Staging"])]


@dataclass(frozen=True)
class Question:
    """The variables of a template, a context from the caller, earlier turns of the conversation, and options."""

    variables: Mapping[str, str]
    context: str | None = None
    history: Sequence[Message] = ()
    options: CallOptions = field(default_factory=CallOptions)


Piece = str | ToolCallPiece | Answer
"""Part of an answer in pieces: text, a tool call, and the whole answer last."""
Prepare = Callable[[LiveRelease], Question]
"""Makes the question for a release, whose template names the variables."""
Check = Callable[[Answer], None]
"""Raises InvalidAnswer for an answer that the route cannot give."""


@dataclass(slots=True)
class Asking:
    """A running request. `question` is set by routes of prompts. `answer` is set when the release has given one, even
    if it is refused afterwards. For a model, `predictions` are its answer and `sample` holds a few rows of it. `again`
    asks another release the same.
    """

    live: LiveRelease
    question: Question = field(default_factory=lambda: Question({}))
    answer: Answer | None = None
    sample: RowSample | None = None
    predictions: Any = None
    again: Again | None = None

    def finished(self, call: Call, error: BaseException | None) -> Finished:
        """The request as it ends now."""
        asked = self.question
        alone = not (asked.history or asked.options.following or asked.options.tools.tools)
        release = self.live.placed.release
        return Finished.of(call, release, asked.variables, self.answer, error, self.sample, asked.context, alone)


async def ask(
    server: Server, call: Call, name: str, alias: str, prepare: Prepare, check: Check | None = None
) -> Answer:
    """The whole answer. `call.the_release` is the release that gave it.

    Raises:
        Refused: the caller may not choose the alias. NotFound: no such release is live. Exhausted: a budget is used up.
        InvalidData: the variables do not fit the template.
        ProviderError: the provider failed. InvalidAnswer: its answer is too long, or breaks a schema.
    """
    async with using(server, call, name, alias) as asking:
        question = asking.question = prepare(asking.live)
        asking.again = partial(_ask_again, prepare)
        answer = asking.answer = await answering.answer(
            asking.live.prompt,
            question.variables,
            context=question.context,
            history=question.history,
            options=question.options,
            on_request=call.name_retrieval,
        )
        _check_length(server, answer.output_chars)
        if check is not None:
            check(answer)
        return answer


async def ask_in_pieces(
    server: Server, call: Call, name: str, alias: str, prepare: Prepare, check: Check | None = None
) -> AsyncGenerator[Piece]:
    """Yield pieces of text as they come, and the whole answer last. Raises as `ask` does.

    Closing it early closes the connection to the provider.
    """
    async with using(server, call, name, alias) as asking:
        question = asking.question = prepare(asking.live)
        asking.again = partial(_ask_again, prepare)
        pieces = answering.stream(
            asking.live.prompt,
            question.variables,
            context=question.context,
            history=question.history,
            options=question.options,
            on_request=call.name_retrieval,
        )
        characters = 0
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Answer):
                    asking.answer = piece
                    if check is not None:
                        check(piece)
                else:
                    characters += len(piece if isinstance(piece, str) else piece.arguments)
                    _check_length(server, characters)
                    yield piece
    assert asking.answer is not None, "a stream that did not break off ends with its answer"
    yield asking.answer


def variables_for(wanted: Collection[str], question: str, given: Mapping[str, str]) -> dict[str, str]:
    """Put the question under the name that the template has for it, beside the caller's other variables.

    Raises:
        BadRequest: the template does not show which variable is the question.
    """
    open_ = [name for name in wanted if name not in {"context", "history", *given}]
    if "question" in open_ or not open_:
        return {**given, "question": question}
    if len(open_) > 1:
        raise BadRequest(f"This prompt has the variables {', '.join(sorted(open_))}: give all but one in `variables`.")
    return {**given, open_[0]: question}


def check_texts(server: Server, call: Call, texts: Iterable[tuple[str, str]]) -> None:
    """Refuse texts that are too long. Each text comes after its name.

    Raises:
        TooLarge: one is longer than `SWITCHYARD_MAX_TEXT_CHARS`.
    """
    limit = server.limits.max_text_chars
    if call.body_bytes <= limit:  # so no text in it can be longer
        return
    for name, text in texts:
        if len(text) > limit:
            raise TooLarge(f"`{name}` holds {len(text)} characters; at most {limit} are taken here.")


@asynccontextmanager
async def using(server: Server, call: Call, name: str, alias: str, kind: Kind = "prompt") -> AsyncIterator[Asking]:
    """Resolve the alias, keep its release loaded until the block ends, and report the result once.

    Raises:
        Refused: the caller may not choose the alias. NotFound: no such release is live. Exhausted: a budget is used up.
    """
    if alias != "Production" and call.caller is not None and not call.caller.may("choose-alias"):
        raise Refused(f"This API key may not choose the alias {alias!r}: it lacks the role `choose-alias`.")
    worker = server.worker
    with span("resolve"):
        if server.strict is not None:
            confirmed = await server.strict.settle(name, alias)
        else:
            confirmed = worker.contact is not None and worker.contact.fresh
        used = worker.shelf.using(name, alias, None if call.names_version else call.unit)
    with used as resolved:
        live = resolved.live
        _check_kind(live, kind)
        release = live.placed.release
        call.alias, call.arm, call.rollout = alias, resolved.arm, resolved.rollout
        call.name_release(live.placed, None if confirmed else worker.stale_seconds())
        call.reservation = server.spending.reserve(call.caller, release, call.body_bytes)
        asking = Asking(live)
        try:
            yield asking
        except BaseException as error:
            server.reporter.report(asking.finished(call, error))
            raise
        server.reporter.report(asking.finished(call, None))
        _copy_to_shadow(server, call, alias, asking)


def _copy_to_shadow(server: Server, call: Call, alias: str, asking: Asking) -> None:
    """Arrange for a shadow to get a copy of this request when its response has left."""
    release = asking.live.placed.release
    shadow = server.shadow.chosen(call, alias, release.name)
    if shadow is None or asking.again is None or asking.answer is None:
        return
    finished = asking.finished(call, None)
    answer = replace(asking.answer, object=asking.predictions) if asking.predictions is not None else asking.answer
    copy = Copy(call, shadow, release, finished.question, finished.context, answer, asking.again)
    call.after_response.append(partial(server.shadow.send, copy))


async def _ask_again(prepare: Prepare, shadow: LoadedShadow) -> Answer:
    question = prepare(shadow.live)
    return await answering.answer(
        shadow.live.prompt,
        question.variables,
        context=question.context,
        history=question.history,
        options=question.options,
    )


def _check_kind(live: LiveRelease, kind: Kind) -> None:
    name, found = live.placed.name, live.placed.manifest.kind
    if found != kind:
        raise NotFound(f"{name} is a {found}: ask it at POST /{found}s/{name}/invocations.")


def _check_length(server: Server, characters: int) -> None:
    limit = server.limits.max_output_chars
    if characters > limit:
        raise InvalidAnswer(f"The provider's answer is longer than the {limit} characters that are handed on here.")
