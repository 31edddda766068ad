"""How long a flip takes under load, and whether any answer disagrees with itself about its release.

`python -m bench.flips [--flips 500] [--workers 4] [--callers 4] [--rate 50]`, over its own MinIO and MLflow. By hand:
alias written in MLflow -> last worker's receipt on disk, once as it is, and once with the follower woken as soon as the
alias stands, as MLflow's webhook does. By `promote`, warmed beforehand: alias set -> last receipt in the store. Every
answer's header, body, text and trace must name the same release. Of each flip the table also says when the alias
stood, the snapshot was on disk and the last worker had swapped.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.registry import own_registry
from bench.report import Measure, report
from mlflow_project.adapters.registry import Registry
from mlflow_project.domain.release import Release
from mlflow_project.promotion.promote import promote
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.snapshot.workers import live_workers
from tests.serving.conftest import Host, Releases, until
from tests.serving.under_load import EVERY_TRACE, Load, Traces, collected, sealed_pair

NAME = "bench-flips"
GOALS = {"by hand": 1000.0, "by hand with the webhook": 200.0, "by promote": 200.0}
"""Milliseconds at the 99th percentile."""


def main() -> None:
    """Seal two releases that answer differently, then flip between them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=50, help="requests a second of all callers")
    given = parser.parse_args()
    with own_registry(), collected() as traces:
        measures = list(_measured(given, Releases(), traces))
    report("flips", measures, f"Flips, {given.workers} workers, {given.rate:g} requests/s")


def _measured(given: argparse.Namespace, releases: Releases, traces: Traces) -> Iterator[Measure]:
    pair = sealed_pair(releases, NAME)
    with _host(given.workers, traces) as host:
        releases.point(NAME, pair[0].version)
        host.serves(NAME, pair[0].version)
        promote(releases.parts, NAME, pair[0].version, "Staging", "user:bench")
        with Load(host, NAME, given.callers, given.rate) as load:
            turns = [pair[(turn + 1) % 2] for turn in range(2 * (given.flips // 2))]
            flips = {
                "by hand": [_by_hand(host, releases, to) for to in turns],
                "by hand with the webhook": [_by_hand(host, releases, to, woken=True) for to in turns],
                "by promote": [_promoted(host, releases, to) for to in turns],
            }
    yield from _measures(flips, load, traces)


@contextmanager
def _host(workers: int, traces: Traces) -> Iterator[Host]:
    with tempfile.TemporaryDirectory() as folder:
        settings = {"SWITCHYARD_POLL_MS": "750", "SWITCHYARD_API_WORKERS": str(workers), **EVERY_TRACE}
        host = Host(Path(folder) / f"bench-{os.getpid()}", OTEL_EXPORTER_OTLP_ENDPOINT=traces.url, **settings)
        try:
            host.start()
            until(lambda: len(host.workers()) == workers, "all workers are up", 120)
            yield host
        finally:
            host.stop()


class Flip(NamedTuple):
    """Milliseconds since the alias began to be written, until: it stood, the snapshot was on disk, the last worker had
    swapped, and whoever flipped knew it."""

    alias: float
    snapshot: float
    swapped: float
    known: float


class _Clocked:
    """Stands before a registry and notes when an alias began to be written, and when it stood (seconds since the
    epoch, as files have it)."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.began = self.stood = 0.0

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self.began = time.time()
        self._registry.set_alias(name, alias, version)
        self.stood = time.time()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    def flip(self, host: Host, known: float) -> Flip:
        """What the files of a host say of a flip that has ended."""
        snapshot = (host.folder / "snapshot.json").stat().st_mtime
        swapped = max(file.stat().st_mtime for file in (host.folder / "workers").glob("*.json"))
        moments = (self.stood, snapshot, min(swapped, known), known)
        return Flip(*(1000 * (moment - self.began) for moment in moments))


def _by_hand(host: Host, releases: Releases, to: Release, *, woken: bool = False) -> Flip:
    clock = _Clocked(releases.registry)
    clock.set_alias(NAME, "Production", to.version)
    if woken:
        ServingFolder(host.folder).wake_follower()
    while not _all_serve(host, to.version):
        time.sleep(0.002)
        assert time.time() - clock.began < 30, "a flip was not followed within 30 s"
    flip = clock.flip(host, time.time())
    time.sleep(0.05)
    return flip


def _all_serve(host: Host, version: int) -> bool:
    reports = list(live_workers(host.folder / "workers"))
    return bool(reports) and all(
        any((r.name, r.alias, r.version, r.state) == (NAME, "Production", version, "serving") for r in report.receipts)
        for report in reports
    )


def _promoted(host: Host, releases: Releases, to: Release) -> Flip:
    clock = _Clocked(releases.registry)
    flip = promote(replace(releases.parts, registry=clock), NAME, to.version, "Staging", "user:bench")
    slowest = flip.receipts.slowest
    assert slowest is not None, "no worker gave a receipt"
    return clock.flip(host, clock.began + slowest[1] / 1000)


def _measures(by_how: dict[str, list[Flip]], load: Load, traces: Traces) -> Iterator[Measure]:
    for how, flips in by_how.items():
        for moment in ("alias", "snapshot", "swapped"):
            p50, p99 = (float(np.percentile([getattr(flip, moment) for flip in flips], share)) for share in (50, 99))
            yield Measure(f"flip {how}: until {moment}, p50", p50, "ms")
            yield Measure(f"flip {how}: until {moment}, p99", p99, "ms")
        times = [flip.known - (0.0 if how == "by promote" else flip.alias) for flip in flips]
        p50, p99 = (float(np.percentile(times, share)) for share in (50, 99))
        yield Measure(f"flip {how}, p50 of {len(times)}", p50, "ms")
        goal = GOALS[how]
        yield Measure(
            f"flip {how}, p99 of {len(times)}", p99, "ms", "the goal", p99 / goal, f"<= {goal:g}", p99 <= goal
        )
    texts = len({text for found in load.texts.values() for text in found})
    yield Measure("answers during the flips", load.answers, "requests", f"{texts} different texts")
    yield Measure("failed", load.failed, "requests", goal="0", met=load.failed == 0)
    yield Measure("text, header and body disagree", load.disagreed, "answers", goal="0", met=load.disagreed == 0)
    traced = len(load.named.keys() & traces.release.keys())
    odd = load.disagreeing_traces(traces)
    yield Measure("trace and header disagree", odd, "answers", f"{traced} with a trace", goal="0", met=odd == 0)


if __name__ == "__main__":
    main()
