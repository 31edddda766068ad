"""Sets a worker's gauges every few seconds: the releases that it serves and refuses, the seconds since the registry
answered, the requests that wait, and the telemetry that was dropped."""

from __future__ import annotations

import asyncio
from typing import Protocol

from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.catalogue import Metric
from mlflow_project.telemetry.meters import Meters
from serving.after.reporter import Reporter
from serving.live.worker import Worker

VITALS_SECONDS = 5.0


class Queue(Protocol):
    """How many requests have a place, and how many wait for one."""

    @property
    def taken(self) -> int: ...

    @property
    def waiting(self) -> int: ...


class Vitals:
    """Writes the gauges of one worker."""

    def __init__(self, worker: Worker, reporter: Reporter, meters: Meters, queue: Queue) -> None:
        self._worker, self._reporter, self._meters, self._queue = worker, reporter, meters, queue
        self._serving = _Present(self._meters, catalogue.RELEASE_SERVED)
        self._refused = _Present(self._meters, catalogue.RELEASES_REFUSED)
        self._dropped: dict[str, int] = {}

    async def run(self) -> None:
        """Set the gauges every few seconds until cancelled."""
        while True:
            self.report()
            await asyncio.sleep(VITALS_SECONDS)

    def report(self) -> None:
        """Set every gauge once."""
        worker = self._worker
        self._serving.set({(one.placed.release.label, one.placed.alias) for one in worker.shelf.live.values()})
        self._refused.set({(f"{one.name}/{one.version}", one.alias, one.cause) for one in worker.refused})
        if worker.contact is not None:
            self._meters.record(catalogue.REGISTRY_AGE, worker.contact.age_ms() / 1000)
        self._meters.record(catalogue.QUEUE_WAITING, self._queue.waiting)
        self._meters.record(catalogue.QUEUE_ANSWERING, self._queue.taken)
        for outbox in self._reporter.outboxes:
            news = outbox.dropped - self._dropped.get(outbox.name, 0)
            self._dropped[outbox.name] = outbox.dropped
            self._meters.record(catalogue.DROPPED, news, signal=outbox.name)


class _Present:
    """A gauge that is 1 for the present labels and 0 for those that were present before. Without the zeros, they would
    stay at 1 for ever.
    """

    def __init__(self, meters: Meters, metric: Metric) -> None:
        self._meters = meters
        self._metric = metric
        self._before: set[tuple[str, ...]] = set()

    def set(self, there: set[tuple[str, ...]]) -> None:
        for values in there | self._before:
            labels = dict(zip(self._metric.labels, values, strict=True))
            self._meters.record(self._metric, int(values in there), **labels)
        self._before = there
