"""Measures what callers notice of a rollout: failed requests through 100 steps, aborts and finishes, and added latency.

`python -m bench.rollout_traffic [--changes 100] [--rate 50] [--seconds 20]`, over its own MinIO and MLflow. Callers of
different sessions ask at a steady rate. First, runs without a rollout and with one that stands at 25 % take turns, and
their latencies are compared. Then rollouts are started, stepped, aborted and finished until the changes are made.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
import time
import timeit
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, pairwise
from pathlib import Path

import httpx
import numpy as np
from httpx_aiohttp import AiohttpTransport

from bench.registry import own_registry
from bench.report import Measure, report
from mlflow_project.domain.rollout import Plan, arm_of
from mlflow_project.parts import Parts
from mlflow_project.promotion.promote import promote, rollback
from mlflow_project.rollouts import changes
from mlflow_project.rollouts.start import start
from mlflow_project.snapshot.folder import ServingFolder
from tests.serving.conftest import Host, Releases, until

NAME, WHO = "bench-rollouts", "user:bench"
TURNS = 3
UNITS = 100_000


class Callers:
    """Ten callers in a thread of their own, until the block ends. `milliseconds` are those of the answers."""

    def __init__(self, host: Host, rate: float) -> None:
        self.failed = 0
        self.milliseconds: list[float] = []
        self._url = f"http://127.0.0.1:{host.port}/prompts/{NAME}/invocations"
        self._pause = 10 / rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Callers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        async with httpx.AsyncClient(transport=AiohttpTransport(), timeout=10) as http:
            await asyncio.gather(*(self._call(http, number) for number in range(10)))

    async def _call(self, http: httpx.AsyncClient, number: int) -> None:
        turn, due = 0, time.monotonic() + number * self._pause / 10
        while not self._stop.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            turn, due = turn + 1, due + self._pause
            began = time.perf_counter()
            headers = {"X-Session-Id": f"session-{number}-{turn}"}
            try:
                answer = await http.post(self._url, json={"variables": {"question": "why?"}}, headers=headers)
            except httpx.HTTPError:
                self.failed += 1
                continue
            self.failed += answer.status_code != 200
            self.milliseconds.append(1000 * (time.perf_counter() - began))


def main() -> None:
    """Measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--rate", type=float, default=50, help="requests a second of all callers")
    parser.add_argument("--seconds", type=float, default=20, help="of one run with a rollout, and of one without")
    given = parser.parse_args()
    measures = list(_choosing())
    with own_registry(), tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder) / "host", SWITCHYARD_POLL_MS="750", SWITCHYARD_API_WORKERS="2")
        try:
            host.start()
            until(lambda: len(host.workers()) == 2, "both workers are up", 120)
            measures += _measured(given, host, Releases())
        finally:
            host.stop()
    report("rollout_traffic", measures, "Rollouts: choosing an arm, and what callers notice")


def _choosing() -> Iterator[Measure]:
    salt, shares = "5a175a175a175a17", (0.01, 0.05, 0.25, 1.0)
    units = [f"session-{number}" for number in range(UNITS)]
    canaries = [{unit for unit in units if arm_of(salt, unit, share) == "canary"} for share in shares]
    back = sum(len(before - after) for before, after in pairwise(canaries))
    yield Measure(f"units of {UNITS:,} moved back, 1 -> 5 -> 25 -> 100 %", back, "units", goal="0", met=back == 0)
    count = 20_000
    seconds = min(timeit.repeat(lambda: arm_of(salt, units[0], 0.05), number=count, repeat=9, timer=time.process_time))
    micro = 1e6 * seconds / count
    yield Measure("choosing an arm, processor time", micro, "us", goal="<= 10", met=micro <= 10)


def _measured(given: argparse.Namespace, host: Host, releases: Releases) -> Iterator[Measure]:
    parts = replace(releases.parts, serving=ServingFolder(host.folder))
    first = releases.seal(NAME, "one")
    promote(parts, NAME, 1, "Production", WHO)
    releases.seal(NAME, "two", champion=first)
    host.serves(NAME, 1)
    yield from _latency(given, host, parts)
    with Callers(host, given.rate) as callers:
        made = _change(given.changes, parts)
    yield Measure(
        f"requests failed through {made} steps, aborts and finishes",
        callers.failed,
        "requests",
        f"{len(callers.milliseconds)} answers",
        goal="0",
        met=callers.failed == 0,
    )


def _latency(given: argparse.Namespace, host: Host, parts: Parts) -> Iterator[Measure]:
    times: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(2 * TURNS):
        rolling = turn % 2 == 1
        if rolling:
            start(parts, NAME, 2, Plan((0.25,)), WHO)
        with Callers(host, given.rate) as callers:
            time.sleep(given.seconds)
        times[rolling] += callers.milliseconds
        if rolling:
            changes.abort(parts, NAME, changes.Order(WHO))
    for share in (50, 99):
        without, with_one = (float(np.percentile(times[rolling], share)) for rolling in (False, True))
        goal, met = ("<= 1", with_one - without <= 1) if share == 99 else ("", None)
        against = f"{with_one:.3g} against {without:.3g} ms"
        yield Measure(f"added by a rollout at 25 %, p{share}", with_one - without, "ms", against, goal=goal, met=met)


def _change(wanted: int, parts: Parts) -> int:
    """Make changes until there are enough: half of the rollouts are aborted, half are finished and rolled back."""
    made = 0
    for aborted in cycle((True, False)):
        start(parts, NAME, 2, Plan((0.05, 0.25, 0.5, 1.0)), WHO)
        changes.step(parts, NAME, changes.Order(WHO))
        changes.step(parts, NAME, changes.Order(WHO))
        if aborted:
            changes.abort(parts, NAME, changes.Order(WHO))
        else:
            changes.step(parts, NAME, changes.Order(WHO))
            rollback(parts, NAME, WHO)
        made += 4
        if made >= wanted:
            return made
    raise AssertionError("the cycle does not end")


if __name__ == "__main__":
    main()
