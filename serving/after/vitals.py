"""What a worker tells of itself every few seconds: what it serves and refuses, how long ago the registry answered, who
waits, and what its telemetry had to drop."""

from __future__ import annotations

import asyncio

from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.catalogue import Metric
from mlflow_project.telemetry.meters import Meters
from serving.after.observe import Observer
from serving.edge.guard import Places
from serving.live.worker import Worker

VITALS_SECONDS = 5.0


class Vitals:
    """Writes the gauges of one worker."""

    def __init__(self, worker: Worker, observer: Observer, places: Places) -> None:
        self._worker, self._observer, self._places = worker, observer, places
        self._meters = observer.meters
        self._serving = _Present(self._meters, catalogue.RELEASE_SERVED)
        self._refused = _Present(self._meters, catalogue.RELEASES_REFUSED)
        self._dropped: dict[str, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.tell()
            await asyncio.sleep(VITALS_SECONDS)

    def tell(self) -> None:
        """Once."""
        worker = self._worker
        self._serving.now({(one.placed.release.label, one.placed.alias) for one in worker.shelf.live.values()})
        self._refused.now({(f"{one.name}/{one.version}", one.alias, one.cause) for one in worker.refused})
        if worker.contact is not None:
            self._meters.record(catalogue.REGISTRY_AGE, worker.contact.age_ms() / 1000)
        self._meters.record(catalogue.QUEUE_WAITING, self._places.waiting)
        self._meters.record(catalogue.QUEUE_ANSWERING, self._places.taken)
        for outbox in self._observer.outboxes:
            news = outbox.dropped - self._dropped.get(outbox.name, 0)
            self._dropped[outbox.name] = outbox.dropped
            self._meters.record(catalogue.DROPPED, news, signal=outbox.name)


class _Present:
    """A gauge that is 1 for what is there and 0 for what was: one that nobody sets keeps its last value for ever."""

    def __init__(self, meters: Meters, metric: Metric) -> None:
        self._meters = meters
        self._metric = metric
        self._before: set[tuple[str, ...]] = set()

    def now(self, there: set[tuple[str, ...]]) -> None:
        for values in there | self._before:
            labels = dict(zip(self._metric.labels, values, strict=True))
            self._meters.record(self._metric, int(values in there), **labels)
        self._before = there
