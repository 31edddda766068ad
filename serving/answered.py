"""One question through the release that its alias points at: the way that every route takes.

In: name, alias, variables. Out: the answer and the release it came from. The release is held until the request ends;
when the caller leaves, the provider is told to stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, HTTPException, Request

from mlflow_project import answering
from mlflow_project.domain.answer import Answer
from mlflow_project.domain.release import Message, Release
from mlflow_project.telemetry.tracing import span
from serving.access import allow_alias
from serving.observe import Observer
from serving.request_context import note_release
from serving.shelf import Live
from serving.worker import Worker

Alias = Annotated[str, Header(alias="X-Alias", max_length=64, description="Which alias answers.", examples=["Staging"])]
CALLER_LEFT = 499

T = TypeVar("T")


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


@asynccontextmanager
async def resolved(request: Request, name: str, alias: str) -> AsyncIterator[Live]:
    """The release that the alias points at, held until the request ends, and named in the response's headers."""
    allow_alias(request, alias)
    worker, strict = worker_of(request), request.app.state.strict
    async with AsyncExitStack() as held:
        with span("resolve"):
            if strict is not None:
                asked = await strict.settle(name, alias)
            else:
                asked = worker.contact is not None and worker.contact.fresh
            live = await held.enter_async_context(worker.shelf.using(name, alias))
        note_release(request, worker, live, asked=asked)
        yield live


async def answered(
    request: Request,
    name: str,
    alias: str,
    variables: Mapping[str, str],
    *,
    context: str | None = None,
    history: Sequence[Message] = (),
) -> tuple[Answer, Release]:
    """Resolve, answer, and name the release in the response's headers."""
    async with resolved(request, name, alias) as live:
        release = live.placed.release
        try:
            asked = answering.answer(live.held.warm, variables, context=context, history=history)
            answer = await unless_left(request, asked)
        except BaseException as error:
            observer_of(request).failed(request, release, error)
            raise
        observer_of(request).answered(request, release, variables, answer)
        return answer, release


async def unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work; when the caller leaves first, the work is cancelled."""
    task = asyncio.create_task(work)
    left = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise HTTPException(CALLER_LEFT, "The caller left before the answer came.")
    finally:
        task.cancel()
        left.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
