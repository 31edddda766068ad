"""The application: settings in, an ASGI app out. Nothing is read or opened before its lifespan begins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from mlflow_project.api_keys import KeyFile
from mlflow_project.logs import set_up_logs
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import (
    EventSettings,
    GuardSettings,
    KeySettings,
    LogSettings,
    ProviderSettings,
    RegistrySettings,
    SealSettings,
    ServerSettings,
    TelemetrySettings,
    load,
)
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.snapshot.spool import Spool
from mlflow_project.telemetry.meters import METERS
from mlflow_project.telemetry.sending import start
from mlflow_project.telemetry.traces import traces_for
from serving import problems
from serving.access import Access, is_loopback
from serving.counts import SharedCounts
from serving.events import EventRecorder
from serving.feedback import FeedbackDesk
from serving.guard import Guard, Places
from serving.observe import Observer
from serving.request_context import RequestContext
from serving.routes import chat, feedback, llm_query, prompts, releases
from serving.spending import Spending
from serving.strict import StrictResolver
from serving.vitals import Vitals
from serving.worker import Worker

SERVICE = "switchyard-server"
"""What Prometheus calls the job."""


def create_app() -> ASGIApp:
    """What a worker process runs: settings from the environment. The context stands around everything, so that the
    answer to a defect of ours has its request's id too."""
    set_up_logs()
    return RequestContext(build(load(ServerSettings), load(SealSettings), load(ProviderSettings)))


def build(settings: ServerSettings, seal: SealSettings, providers: ProviderSettings) -> FastAPI:
    """The app over given settings."""
    guard = load(GuardSettings)
    places = Places(guard.max_concurrent, guard.max_queued, guard.queue_seconds)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        folder = ServingFolder(settings.serving_folder)
        worker = app.state.worker = Worker(folder, seal.trusted_keys, providers)
        strict = StrictResolver(load(RegistrySettings), worker, folder) if settings.resolve == "strict" else None
        app.state.strict = strict
        telemetry = load(TelemetrySettings)
        sender = start(telemetry, SERVICE, worker.name)
        spool, masker = _spool(folder), Masker(load(LogSettings).mask_patterns)
        events = EventRecorder(load(EventSettings), spool, masker)
        observer = app.state.observer = _observer(telemetry, worker.name, events)
        app.state.feedback = FeedbackDesk(spool, masker, observer.meters)
        counts = SharedCounts(settings.serving_folder / "usage", worker.name)
        counts.start()
        app.state.spending = Spending(counts, guard.limits, guard.reserve_tokens)
        await worker.start()
        vitals = Vitals(worker, observer, places)
        beside = [asyncio.create_task(vitals.run()), asyncio.create_task(counts.share())]
        yield
        for task in beside:
            task.cancel()
        counts.exchange()
        await worker.stop()
        if strict is not None:
            await strict.close()
        observer.close()
        if sender is not None:
            sender.close()

    app = FastAPI(
        title="Switchyard",
        summary="Flip an alias, and the traffic moves.",
        version="1",
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.guard = guard
    app.add_middleware(Guard, settings=guard, places=places)
    keys = KeyFile(load(KeySettings).api_keys_file)
    app.add_middleware(Access, keys=keys, always=not is_loopback(settings.api_host))
    problems.add_to(app)
    app.include_router(llm_query.router, responses=problems.PLAIN)
    for room in (prompts, chat, feedback, releases):
        app.include_router(room.router, responses=problems.PROBLEMS)
    return app


def _spool(folder: ServingFolder) -> Spool:
    return Spool(folder.spool_file, load(EventSettings).event_spool_mb * 1_000_000)


def _observer(settings: TelemetrySettings, worker: str, events: EventRecorder) -> Observer:
    """What this worker is seen by. Its meters are the process's, so that a seal's check is counted wherever it is."""
    traces = traces_for(settings, load(RegistrySettings).mlflow_uri, SERVICE, worker)
    return Observer(load(LogSettings), settings, METERS, traces, events)
