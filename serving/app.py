"""The application: settings in, an ASGI app out. Nothing is read or opened before its lifespan begins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from mlflow_project.settings import ProviderSettings, SealSettings, ServerSettings, load
from mlflow_project.snapshot.folder import ServingFolder
from serving import problems
from serving.guard import Guard, GuardSettings
from serving.request_context import RequestContext
from serving.routes import llm_query, prompts, releases
from serving.worker import Worker


def create_app() -> FastAPI:
    """What a worker process runs: settings from the environment."""
    return build(load(ServerSettings), load(SealSettings), load(ProviderSettings))


def build(settings: ServerSettings, seal: SealSettings, providers: ProviderSettings) -> FastAPI:
    """The app over given settings."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker = Worker(ServingFolder(settings.serving_folder), seal.trusted_keys, providers)
        app.state.worker = worker
        await worker.start()
        yield
        await worker.stop()

    app = FastAPI(
        title="Switchyard",
        summary="Flip an alias, and the traffic moves.",
        version="1",
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.add_middleware(Guard, settings=load(GuardSettings))
    app.add_middleware(RequestContext)
    problems.add_to(app)
    for room in (llm_query, prompts, releases):
        app.include_router(room.router)
    return app
