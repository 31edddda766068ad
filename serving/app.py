"""The bootstrap of the server: reads the settings, builds every part of a worker, and passes them on.

Importing this module opens nothing and reads nothing. `create_app` reads the settings; the lifespan opens the parts
before the first request and closes them after the last.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypedDict

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from mlflow_project.adapters.providers import Providers
from mlflow_project.api_keys import KeyFile
from mlflow_project.logs import set_up_logs
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import (
    ConsoleSettings,
    EventSettings,
    GuardSettings,
    KeySettings,
    LogSettings,
    ModelSettings,
    ProviderSettings,
    RegistrySettings,
    SealSettings,
    ServerSettings,
    TelemetrySettings,
    load,
)
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.snapshot.spool import Spool
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.outbox import Outbox
from mlflow_project.telemetry.sending import start
from mlflow_project.telemetry.traces import traces_for
from mlflow_project.web import problems
from mlflow_project.web.counts import SharedCounts
from mlflow_project.web.keys import Keys, is_loopback
from serving.after.arm_counts import ArmCounter
from serving.after.events import EventRecorder
from serving.after.feedback import FeedbackDesk
from serving.after.metrics import RequestMetrics
from serving.after.quality import Quality
from serving.after.query_log import QueryLog
from serving.after.reporter import Reporter, TraceNotes
from serving.after.shadow import ShadowDesk
from serving.after.vitals import Vitals
from serving.call import Finished
from serving.edge.middleware import Edge
from serving.edge.places import Places
from serving.live.heartbeat import start_beating
from serving.live.spending import Spending
from serving.live.strict import StrictResolver
from serving.live.worker import Worker
from serving.routes import documentation, feedback, kserve, llm_query, prompts, releases, webhook
from serving.routes import models as model_routes
from serving.routes.openai import chat, embeddings, models, responses
from serving.server import Server

SERVICE = "switchyard-server"
"""The label `job` of the server's metrics in Prometheus."""
OPEN_PATHS = documentation.PATHS | {"/health/live", "/health/ready", "/openapi.json", webhook.PATH}
"""These need no API key. A webhook is signed instead."""
_ROOMS = (prompts, model_routes, kserve, chat, responses, embeddings, models, feedback, releases, webhook)
_ROUTERS: Sequence[APIRouter] = tuple(room.router for room in _ROOMS)
_M_ARENA_MAX = -8
"""The option of `mallopt(3)`."""


@dataclass(frozen=True)
class Settings:
    """Every group of settings that the server reads."""

    server: ServerSettings = field(default_factory=lambda: load(ServerSettings))
    limits: GuardSettings = field(default_factory=lambda: load(GuardSettings))
    keys: KeySettings = field(default_factory=lambda: load(KeySettings))
    seal: SealSettings = field(default_factory=lambda: load(SealSettings))
    providers: ProviderSettings = field(default_factory=lambda: load(ProviderSettings))
    registry: RegistrySettings = field(default_factory=lambda: load(RegistrySettings))
    logs: LogSettings = field(default_factory=lambda: load(LogSettings))
    models: ModelSettings = field(default_factory=lambda: load(ModelSettings))
    events: EventSettings = field(default_factory=lambda: load(EventSettings))
    telemetry: TelemetrySettings = field(default_factory=lambda: load(TelemetrySettings))
    console: ConsoleSettings = field(default_factory=lambda: load(ConsoleSettings))


class State(TypedDict):
    """What the lifespan gives to every request as `request.state`."""

    server: Server


def create_app() -> ASGIApp:
    """The ASGI application of a worker process. uvicorn calls this."""
    settings = Settings()
    masker = Masker(settings.logs.mask_patterns)
    set_up_logs(clean=lambda text: masker.mask(text).text)
    return build(settings, masker)


def build(settings: Settings, masker: Masker) -> ASGIApp:
    """FastAPI with its routes, inside the edge. So the response to an unexpected error has the request's id too."""
    limits = settings.limits
    places = Places(limits.max_concurrent, limits.max_queued, limits.queue_seconds)
    keys = Keys(KeyFile(settings.keys.api_keys_file), always=not is_loopback(settings.server.api_host))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        async with running(settings, masker, places) as server:
            yield {"server": server}

    app = FastAPI(
        title="Switchyard",
        summary="Flip an alias, and the traffic moves.",
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.console_url = settings.console.console_url
    problems.add_to(app)
    app.include_router(llm_query.router, responses=problems.PLAIN)
    for router in _ROUTERS:
        app.include_router(router, responses=problems.PROBLEMS)
    app.include_router(documentation.router)
    return Edge(
        app,
        keys=keys,
        places=places,
        limits=limits,
        max_rows_bytes=settings.models.max_rows_bytes,
        masker=masker,
        open_paths=OPEN_PATHS,
    )


@asynccontextmanager
async def running(settings: Settings, masker: Masker, places: Places) -> AsyncIterator[Server]:
    """Open the parts of one worker, and close them when the block ends."""
    _share_one_heap()
    folder = ServingFolder(settings.server.serving_folder)
    beating = start_beating(settings.server.api_worker_silence)
    providers = Providers(settings.providers, masker)
    shadow_providers = Providers(settings.providers, masker)
    meters = Meters()
    worker = Worker(
        folder,
        settings.seal.trusted_keys,
        providers,
        meters,
        models=settings.models,
        shadow_providers=shadow_providers,
    )
    strict = StrictResolver(settings.registry, worker, folder) if settings.server.resolve == "strict" else None
    sender = start(meters, settings.telemetry, SERVICE, worker.name)
    spool = Spool(folder.spool_file, settings.events.event_spool_mb * 1_000_000)
    counts = SharedCounts(settings.server.serving_folder / "usage", worker.name)
    counts.start()
    spending = Spending(counts, settings.limits.limits, settings.limits.reserve_tokens, meters)
    arms = ArmCounter(folder.counts)
    reporter = _reporter(settings, masker, meters, spool, spending, arms, worker.name)
    desk = FeedbackDesk(spool, masker, meters, arms)
    shadow = ShadowDesk(worker.shadows, spending, spool, masker, meters, settings.events)
    await worker.start()
    gc.freeze()  # or each full collection would scan 100,000 loaded objects: 55 ms in which no request proceeds
    vitals = Vitals(worker, reporter, meters, places)
    beside = [beating, asyncio.create_task(vitals.run()), asyncio.create_task(counts.share())]
    beside.append(asyncio.create_task(arms.keep_writing()))
    beside.append(asyncio.create_task(shadow.run()))
    yield Server(settings.server, settings.limits, worker, strict, spending, reporter, desk, shadow)
    for task in beside:
        task.cancel()
    counts.exchange()
    await worker.stop()
    await providers.aclose()
    await shadow_providers.aclose()
    if strict is not None:
        await strict.close()
    reporter.close()
    arms.write()
    shadow.outbox.close()
    if sender is not None:
        sender.close()


def _reporter(
    settings: Settings,
    masker: Masker,
    meters: Meters,
    spool: Spool,
    spending: Spending,
    arms: ArmCounter,
    worker: str,
) -> Reporter:
    """Build the subscribers that get every finished request."""
    telemetry = settings.telemetry
    traces = traces_for(telemetry, settings.registry.mlflow_uri, SERVICE, worker)
    log = QueryLog(settings.logs, masker, meters)
    notes = TraceNotes(log.safe if telemetry.trace_texts and traces.outboxes else None)
    quality = Quality(telemetry.quality_share if meters.listening else 0.0, meters)
    events = EventRecorder(settings.events, spool, masker, arms)

    def settle(finished: Finished) -> None:
        reserved = finished.call.reservation
        if reserved is not None:
            spending.settle(reserved, finished.answer, finished.error)

    metrics = RequestMetrics(meters)
    subscribers = (settle, notes.record, log.record, metrics.record, arms.record, quality.offer, events.record)
    outboxes: list[Outbox[Any]] = [log.outbox, events.outbox]
    if quality.outbox is not None:
        outboxes.append(quality.outbox)
    return Reporter(meters, traces, subscribers, outboxes)


def _share_one_heap() -> None:
    """Make all threads share one heap. By default glibc gives each thread its own, and a worker has many threads that
    each allocate little.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, 1)
