"""The application: settings in, an ASGI app out. Nothing is read or opened before its lifespan begins."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.datastructures import State
from starlette.types import ASGIApp

from mlflow_project.api_keys import KeyFile
from mlflow_project.logs import set_up_logs
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import (
    GuardSettings,
    KeySettings,
    LogSettings,
    ProviderSettings,
    SealSettings,
    ServerSettings,
    load,
)
from serving import problems
from serving.edge.access import Access, is_loopback
from serving.edge.guard import Guard, Places
from serving.edge.request_context import RequestContext
from serving.json_route import Doors
from serving.lifetime import lifetime
from serving.routes import chat, documentation, feedback, llm_query, prompts, releases, webhook


class ServerState(State):
    """What a worker has, as plain attributes: Starlette's own look-up costs a request seven microseconds."""

    def __setattr__(self, key: Any, value: Any) -> None:
        object.__setattr__(self, key, value)


def create_app() -> ASGIApp:
    """What a worker process runs: settings from the environment. The context stands around everything, so that the
    answer to a defect of ours has its request's id too."""
    masker = Masker(load(LogSettings).mask_patterns)
    set_up_logs(clean=lambda text: masker.mask(text).text)
    return RequestContext(build(load(ServerSettings), load(SealSettings), load(ProviderSettings)))


def build(settings: ServerSettings, seal: SealSettings, providers: ProviderSettings) -> FastAPI:
    """The app over given settings."""
    guard = load(GuardSettings)
    places = Places(guard.max_concurrent, guard.max_queued, guard.queue_seconds)

    app = FastAPI(
        title="Switchyard",
        summary="Flip an alias, and the traffic moves.",
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=lambda app: lifetime(app, settings, seal, providers, places),
    )
    app.state = ServerState()
    app.state.settings = settings
    app.state.guard = guard
    app.add_middleware(Doors)
    app.add_middleware(Guard, settings=guard, places=places)
    keys = KeyFile(load(KeySettings).api_keys_file)
    app.add_middleware(Access, keys=keys, always=not is_loopback(settings.api_host))
    problems.add_to(app)
    app.include_router(llm_query.router, responses=problems.PLAIN)
    for room in (prompts, chat, feedback, releases, webhook):
        app.include_router(room.router, responses=problems.PROBLEMS)
    app.include_router(documentation.router)
    return app
