"""The bootstrap of the ingestion service: reads the settings, builds every part, and passes them on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypedDict

from fastapi import FastAPI
from starlette.types import ASGIApp

from ingestion import routes
from ingestion.courier import Courier
from ingestion.edge import Edge
from ingestion.intake import Intake
from ingestion.producer import KafkaProducer
from ingestion.spool import Spool
from mlflow_project.adapters.schema_folder import read_streams
from mlflow_project.api_keys import KeyFile
from mlflow_project.logs import set_up_logs
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import (
    GuardSettings,
    IngestionSettings,
    KafkaSettings,
    KeySettings,
    LogSettings,
    RegistrySettings,
    TelemetrySettings,
    load,
)
from mlflow_project.telemetry.catalogue import INGEST_PENDING, INGEST_SPOOL
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.sending import start
from mlflow_project.telemetry.traces import Traces, traces_for
from mlflow_project.web import problems
from mlflow_project.web.caller_limits import CallerLimits
from mlflow_project.web.counts import SharedCounts
from mlflow_project.web.keys import Keys, is_loopback

SERVICE = "switchyard-ingestion"
"""The label `job` of the service's metrics in Prometheus."""
OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/openapi.json", "/docs"})
_GAUGE_SECONDS = 1.0


@dataclass(frozen=True)
class Settings:
    """Every group of settings that the service reads."""

    service: IngestionSettings = field(default_factory=lambda: load(IngestionSettings))
    kafka: KafkaSettings = field(default_factory=lambda: load(KafkaSettings))
    limits: GuardSettings = field(default_factory=lambda: load(GuardSettings))
    keys: KeySettings = field(default_factory=lambda: load(KeySettings))
    registry: RegistrySettings = field(default_factory=lambda: load(RegistrySettings))
    logs: LogSettings = field(default_factory=lambda: load(LogSettings))
    telemetry: TelemetrySettings = field(default_factory=lambda: load(TelemetrySettings))


class State(TypedDict):
    """What the lifespan gives to every request as `request.state`."""

    intake: Intake
    spool: Spool
    meters: Meters
    traces: Traces
    limits: CallerLimits


def create_app() -> ASGIApp:
    """The ASGI application. uvicorn calls this."""
    settings = Settings()
    masker = Masker(settings.logs.mask_patterns)
    set_up_logs(clean=lambda text: masker.mask(text).text)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        async with running(settings) as state:
            yield state

    app = FastAPI(title="Switchyard ingestion", version="1", redoc_url=None, lifespan=lifespan)
    problems.add_to(app)
    app.include_router(routes.router, responses=problems.PROBLEMS)
    keys = Keys(KeyFile(settings.keys.api_keys_file), always=not is_loopback(settings.service.ingest_host))
    return Edge(app, keys, masker, OPEN_PATHS)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[State]:
    """Open the parts of the service, and close them when the block ends."""
    service, telemetry = settings.service, settings.telemetry
    pending = service.ingest_pending_mb * 1_000_000
    meters = Meters()
    sender = start(meters, telemetry, SERVICE)
    traces = traces_for(telemetry, settings.registry.mlflow_uri, SERVICE, SERVICE)
    spool = Spool(service.ingest_folder, service.ingest_spool_mb * 1_000_000)
    counts = SharedCounts(service.ingest_folder / "usage", SERVICE)
    counts.start()
    make_producer = partial(KafkaProducer, settings.kafka, service.ingest_kafka_seconds, pending)
    courier = Courier(make_producer, spool, pending)
    streams = read_streams(settings.kafka.schemas_folder)
    intake = Intake(courier, streams, service.ingest_record_bytes, service.ingest_known_ids, meters)
    limits = CallerLimits(counts, settings.limits.limits, meters)
    await courier.open()
    beside = [asyncio.create_task(counts.share()), asyncio.create_task(_gauges(meters, courier, spool))]
    yield State(intake=intake, spool=spool, meters=meters, traces=traces, limits=limits)
    for task in beside:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    counts.exchange()
    await courier.close()
    spool.close()
    for outbox in traces.outboxes:
        outbox.close()
    if sender is not None:
        sender.close()


async def _gauges(meters: Meters, courier: Courier, spool: Spool) -> None:
    while True:
        meters.record(INGEST_SPOOL, spool.bytes)
        meters.record(INGEST_PENDING, courier.pending_bytes)
        await asyncio.sleep(_GAUGE_SECONDS)
