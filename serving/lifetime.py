"""What a worker of the server begins with and ends with: releases, counts, events, metrics and traces."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from mlflow_project.rules.masking import Masker
from mlflow_project.settings import (
    EventSettings,
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
from serving.after.events import EventRecorder
from serving.after.feedback import FeedbackDesk
from serving.after.observe import Observer
from serving.after.vitals import Vitals
from serving.edge.guard import Places
from serving.live.counts import SharedCounts
from serving.live.heartbeat import keep_beating
from serving.live.spending import Spending
from serving.live.strict import StrictResolver
from serving.live.worker import Worker

SERVICE = "switchyard-server"
"""What Prometheus calls the job."""

_M_ARENA_MAX = -8
"""The option of `mallopt(3)`."""


@asynccontextmanager
async def lifetime(
    app: FastAPI, settings: ServerSettings, seal: SealSettings, providers: ProviderSettings, places: Places
) -> AsyncIterator[None]:
    """Everything that runs beside the requests, begun before the first and ended after the last."""
    _share_one_heap()
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
    app.state.spending = Spending(counts, app.state.guard.limits, app.state.guard.reserve_tokens)
    await worker.start()
    _spare_the_collector()
    vitals = Vitals(worker, observer, places)
    beating = keep_beating(settings.api_worker_silence)
    beside = [asyncio.create_task(each) for each in (vitals.run(), counts.share(), beating)]
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


def _share_one_heap() -> None:
    """glibc gives each thread a heap of its own; a worker has many that each do little, and no two at a time."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, 1)


def _spare_the_collector() -> None:
    """What a worker has loaded stays for its whole life: the garbage collector need not look through it again. An
    answered request leaves no cycle behind, and to look through what all of them hold at a busy moment takes ten
    milliseconds: it is done seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _spool(folder: ServingFolder) -> Spool:
    return Spool(folder.spool_file, load(EventSettings).event_spool_mb * 1_000_000)


def _observer(settings: TelemetrySettings, worker: str, events: EventRecorder) -> Observer:
    """What this worker is seen by. Its meters are the process's, so that a seal's check is counted wherever it is."""
    traces = traces_for(settings, load(RegistrySettings).mlflow_uri, SERVICE, worker)
    return Observer(load(LogSettings), settings, METERS, traces, events)
