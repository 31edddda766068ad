"""One question through the release that its alias points at: the way that every route takes.

In: name, alias, variables. Out: the answer and the release it came from. The release is held until the request ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import Depends, Header, Request

from mlflow_project import answering
from mlflow_project.domain.answer import Answer
from mlflow_project.domain.release import Message, Release
from serving.request_context import note_release
from serving.worker import Worker

Alias = Annotated[str, Header(alias="X-Alias", max_length=64, description="Which alias answers.", examples=["Staging"])]


def worker_of(request: Request) -> Worker:
    """This process's worker."""
    worker: Worker = request.app.state.worker
    return worker


TheWorker = Annotated[Worker, Depends(worker_of)]


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
    worker = worker_of(request)
    async with worker.shelf.using(name, alias) as live:
        note_release(request, worker, live)
        answer = await answering.answer(live.held.warm, variables, context=context, history=history)
        return answer, live.placed.release
