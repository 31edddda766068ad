"""One question through the release that its alias points at: the way that every route takes.

In: name, alias, variables. Out: the answer and the release it came from. The release is held until the request ends;
when the caller leaves, the provider is told to stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Annotated

from fastapi import Depends, Header, Request

from mlflow_project import answering
from mlflow_project.domain.answer import Answer
from mlflow_project.domain.release import Message, Release
from mlflow_project.errors import InvalidAnswer
from mlflow_project.telemetry.tracing import span
from serving.after.observe import Observer
from serving.edge.access import allow_alias
from serving.edge.request_context import note_release
from serving.leaving import unless_left
from serving.live.shelf import Live, Using
from serving.live.spending import Reservation, Spending
from serving.live.worker import Worker
from serving.problems import TooLarge
from serving.routes.chat_request import variables_for

Alias = Annotated[str, Header(alias="X-Alias", max_length=64, description="Which alias answers.", examples=["Staging"])]


def worker_of(request: Request) -> Worker:
    """This process's worker."""
    worker: Worker = request.app.state.worker
    return worker


def observer_of(request: Request) -> Observer:
    """This process's observer."""
    observer: Observer = request.app.state.observer
    return observer


async def _worker(request: Request) -> Worker:
    """A coroutine, because FastAPI sends a plain function to a thread, which costs half a millisecond."""
    return worker_of(request)


TheWorker = Annotated[Worker, Depends(_worker)]


class Resolved:
    """The release that answers a request, and what the request may spend on it: held until the block ends, or the one
    that they were handed on to."""

    __slots__ = ("_reservation", "_using", "live")

    def __init__(self, using: Using, reservation: Reservation) -> None:
        self.live = using.__enter__()
        self._using: Using | None = using
        self._reservation = reservation

    def handed_on(self) -> Resolved:
        """The same, for another block to hold."""
        assert self._using is not None, "it was handed on before"
        other = Resolved(self._using, self._reservation)
        self._using.__exit__()
        self._using = None
        return other

    def __enter__(self) -> Live:
        return self.live

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        using, self._using = self._using, None
        if using is not None:
            try:
                self._reservation.__exit__(kind, error, trace)
            finally:
                using.__exit__()


async def resolved(request: Request, name: str, alias: str) -> Resolved:
    """The release that the alias points at, named in the response's headers from here on."""
    allow_alias(request, alias)
    state, app = request.scope["state"], request.app.state
    worker: Worker = app.worker
    with span("resolve"):
        if app.strict is not None:
            asked = await app.strict.settle(name, alias)
        else:
            asked = worker.contact is not None and worker.contact.fresh
        using = worker.shelf.using(name, alias)
    note_release(request, worker, using.live, asked=asked)
    spending: Spending = app.spending
    reserved = spending.reserved(state.get("caller"), using.live.placed.release, state["body_bytes"])
    state["reservation"] = reserved
    return Resolved(using, reserved)


async def answered(
    request: Request,
    name: str,
    alias: str,
    asked: Mapping[str, str] | str,
    *,
    context: str | None = None,
    history: Sequence[Message] = (),
) -> tuple[Answer, Release]:
    """Resolve, answer, and name the release in the response's headers. `asked` are all variables, or the question
    alone, for the slot that the template has for it."""
    given = {"text_input": asked} if isinstance(asked, str) else asked
    check_texts(request, {**given, "context": context or ""}.items())
    with await resolved(request, name, alias) as live:
        release, warm = live.placed.release, live.held.warm
        variables = variables_for(warm.template.variables, asked, {}) if isinstance(asked, str) else asked
        try:
            work = answering.answer(warm, variables, context=context, history=history)
            answer = await unless_left(request, work)
            note_answer(request, answer)
        except BaseException as error:
            observer_of(request).failed(request, release, error)
            raise
        observer_of(request).answered(request, release, variables, answer)
        return answer, release


def check_texts(request: Request, texts: Iterable[tuple[str, str]]) -> None:
    """Each text, after its name, within the size that is set; a body of no more bytes than that holds no longer one.

    Raises:
        TooLarge: one is longer.
    """
    limit: int = request.app.state.guard.max_text_chars
    if request.scope["state"]["body_bytes"] <= limit:
        return
    for name, text in texts:
        if len(text) > limit:
            raise TooLarge(f"`{name}` holds {len(text)} characters; at most {limit} are taken here.")


def note_answer(request: Request, answer: Answer) -> None:
    """From here on this is what the request used up; and it is within the size that is set.

    Raises:
        InvalidAnswer: it is longer.
    """
    request.scope["state"]["reservation"].answer = answer
    check_output(request, answer.output_chars)


def check_output(request: Request, characters: int) -> None:
    """Raises InvalidAnswer when so much text is more than is handed on here."""
    limit: int = request.app.state.guard.max_output_chars
    if characters > limit:
        raise InvalidAnswer(f"The provider's answer is longer than the {limit} characters that are handed on here.")
