"""How long a flip takes under load, and whether any answer disagrees with itself about its release.

`python -m bench.flips [--flips 500] [--workers 4] [--callers 4]`, over the running stack's MLflow and MinIO
(`make up`). A follower and a server of its own; by hand: alias written in MLflow -> last worker's receipt on disk; by
`promote`: alias set -> last receipt in the store. Every answer's header, body and text must name the same release.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from httpx_aiohttp import AiohttpTransport

from bench.report import Measure, report
from mlflow_project.domain.release import ProviderChoice, Release
from mlflow_project.promotion.promote import promote
from mlflow_project.snapshot.workers import live_workers
from tests.serving.conftest import Host, Releases, until

NAME = "bench-flips"
CONTEXT = "The gate decides about flips. A flip moves an alias. A flip has receipts. Cats sleep all day."
QUESTION = "What does a flip move and have?"
POLL_MS = 100


def main() -> None:
    """Seal two releases that answer differently, then flip between them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--callers", type=int, default=4)
    given = parser.parse_args()
    releases = Releases()
    pair = [_sealed(releases, sentences) for sentences in (1, 2)]
    with _host(given.workers) as host:
        releases.point(NAME, pair[0].version)
        releases.point(NAME, pair[0].version, "Staging")
        host.serves(NAME, pair[0].version)
        with Load(host, given.callers) as load:
            by_hand = [_by_hand(host, releases, pair[(turn + 1) % 2]) for turn in range(given.flips)]
            promoted = [_promoted(releases, pair[(turn + 1) % 2]) for turn in range(given.flips // 5)]
    report(
        "flips", list(_measures(by_hand, promoted, load)), f"Flips, {given.workers} workers, {given.callers} callers"
    )


class Load:
    """Callers in a closed loop in a thread of their own."""

    def __init__(self, host: Host, callers: int) -> None:
        self.answers = self.failed = 0
        self.texts: dict[str, set[str]] = {}
        self.disagreed = 0
        self._url = f"http://127.0.0.1:{host.port}/prompts/{NAME}/invocations"
        self._callers = callers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        async with httpx.AsyncClient(transport=AiohttpTransport(), timeout=10) as http:
            await asyncio.gather(*(self._call(http) for _ in range(self._callers)))

    async def _call(self, http: httpx.AsyncClient) -> None:
        body = {"variables": {"question": QUESTION}, "context": CONTEXT}
        while not self._stop.is_set():
            try:
                answer = await http.post(self._url, json=body)
            except httpx.HTTPError:
                self.failed += 1
                continue
            self._take(answer)
            await asyncio.sleep(0.01)

    def _take(self, answer: httpx.Response) -> None:
        self.answers += 1
        if answer.status_code != 200:
            self.failed += 1
            return
        named, body = answer.headers["X-Release"], answer.json()
        self.texts.setdefault(named, set()).add(body["text"])
        self.disagreed += named != body["release"] or len(self.texts[named]) > 1


def _sealed(releases: Releases, sentences: int) -> Release:
    choice = ProviderChoice("extractive", "extractive-1", {"sentences": sentences, "floor": 0.0})
    return releases.seal(NAME, f"{sentences} sentences", provider=choice)


@contextmanager
def _host(workers: int) -> Iterator[Host]:
    with tempfile.TemporaryDirectory() as folder:
        settings = {"SWITCHYARD_POLL_MS": str(POLL_MS), "SWITCHYARD_API_WORKERS": str(workers)}
        host = Host(Path(folder) / f"bench-{os.getpid()}", **settings)
        try:
            host.start()
            until(lambda: len(host.workers()) == workers, "all workers are up", 120)
            yield host
        finally:
            host.stop()


def _by_hand(host: Host, releases: Releases, to: Release) -> float:
    """Milliseconds until the last worker serves."""
    releases.point(NAME, to.version)
    began = time.monotonic()
    while not _all_serve(host, to.version):
        time.sleep(0.002)
        assert time.monotonic() - began < 30, "a flip was not followed within 30 s"
    took = 1000 * (time.monotonic() - began)
    time.sleep(0.05)
    return took


def _all_serve(host: Host, version: int) -> bool:
    reports = list(live_workers(host.folder / "workers"))
    return bool(reports) and all(
        any((r.name, r.alias, r.version, r.state) == (NAME, "Production", version, "serving") for r in report.receipts)
        for report in reports
    )


def _promoted(releases: Releases, to: Release) -> float:
    """Milliseconds from alias set to the last receipt."""
    flip = promote(releases.parts, NAME, to.version, "Staging", "user:bench")
    slowest = flip.receipts.slowest
    assert slowest is not None, "no worker gave a receipt"
    return slowest[1]


def _measures(by_hand: list[float], promoted: list[float], load: Load) -> Iterator[Measure]:
    goal = POLL_MS + 100.0
    for how, times in (("by hand", by_hand), ("by promote", promoted)):
        if not times:
            continue
        p50, p99 = (float(np.percentile(times, share)) for share in (50, 99))
        yield Measure(f"flip {how}, p50 of {len(times)}", p50, "ms")
        met = p99 <= goal
        yield Measure(f"flip {how}, p99 of {len(times)}", p99, "ms", "poll + 100 ms", p99 / goal, f"<= {goal:g}", met)
    texts: Any = len({text for found in load.texts.values() for text in found})
    yield Measure("answers during the flips", load.answers, "requests", f"{texts} different texts")
    yield Measure("failed", load.failed, "requests", goal="0", met=load.failed == 0)
    yield Measure("text, header and body disagree", load.disagreed, "answers", goal="0", met=load.disagreed == 0)


if __name__ == "__main__":
    main()
