"""The parts of one worker process. The lifespan passes them to the edge and to the routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from mlflow_project.settings import GuardSettings, ServerSettings
from serving.after.feedback import FeedbackDesk
from serving.after.reporter import Reporter
from serving.after.shadow import ShadowDesk
from serving.live.spending import Spending
from serving.live.strict import StrictResolver
from serving.live.worker import Worker


@dataclass(frozen=True)
class Server:
    """Everything that a request needs. `strict` is None unless `SWITCHYARD_RESOLVE=strict`."""

    settings: ServerSettings
    limits: GuardSettings
    worker: Worker
    strict: StrictResolver | None
    spending: Spending
    reporter: Reporter
    feedback: FeedbackDesk
    shadow: ShadowDesk


async def _server(request: Request) -> Server:
    """A coroutine, because FastAPI runs plain functions in a thread."""
    server: Server = request.state.server
    return server


TheServer = Annotated[Server, Depends(_server)]
"""The type of a route's parameter that gets the `Server`."""
