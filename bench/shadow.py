"""Measures what callers notice of a shadow: failed requests, and time added at the median and at p99.

`python -m bench.shadow [--seconds 8] [--rounds 4] [--rate 50]`. One worker answers in production by quoting, so that
nothing else delays an answer. Its shadow gets a copy of every request, within the rate that `shadow start` sets by
default. Rounds without a shadow alternate with rounds beside a shadow whose provider is dead (nobody listens), slow
(30 s) or flooding (3 MB an answer). Each mode is compared with the rounds without a shadow.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from httpx_aiohttp import AiohttpTransport

from bench.report import Measure, report
from mlflow_project.domain.release import ProviderChoice
from stack.ports import free_port
from tests.conftest import ROOT, own_settings
from tests.serving.conftest import Host, until
from tests.serving.snapshots import Snapshots
from tests.serving.under_load import CONTEXT, QUESTION

NAME = "bench-shadow"
MODES = ("none", "dead", "slow", "flooding")
FLOOD_WORDS = 500_000
GOAL_MS = 1.0


def main() -> None:
    """Measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="of each round")
    parser.add_argument("--rounds", type=int, default=4, help="of each mode")
    parser.add_argument("--rate", type=float, default=50, help="requests a second")
    given = parser.parse_args()
    with own_settings(), tempfile.TemporaryDirectory() as folder, _host(Path(folder)) as (released, host):
        times, failed = _measured(released, host, given)
    report("shadow", list(_measures(times, failed)), f"A shadow of every request, {given.rate:g} requests/s")


@contextmanager
def _host(folder: Path) -> Iterator[tuple[Snapshots, Host]]:
    """A server, and the providers of its shadows, each a process of its own."""
    ports = {mode: free_port() for mode in MODES}
    flood = ("--text", "flood ", "--times", str(FLOOD_WORDS))
    providers = [_provider(ports["slow"], "--latency-ms", "30000"), _provider(ports["flooding"], *flood)]
    endpoints = folder / "providers.yaml"
    lines = [f"  {mode}: {{protocol: openai, url: 'http://127.0.0.1:{ports[mode]}/v1'}}" for mode in MODES[1:]]
    endpoints.write_text("\n".join(["endpoints:", *lines]))
    released = Snapshots(folder)
    released.seal(NAME, "production")
    for mode in MODES[1:]:
        released.seal(NAME, mode, provider=ProviderChoice("openai", "m", {"tries": 1}, mode))
    released.point(NAME, 1)
    host = released.host(SWITCHYARD_PROVIDERS=str(endpoints))
    try:
        host.start_server()
        yield released, host
    finally:
        host.stop()
        for provider in providers:
            provider.terminate()
            provider.wait(10)


def _provider(port: int, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.provider", "--port", str(port), *options], cwd=ROOT)


def _measured(
    released: Snapshots, host: Host, given: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """The milliseconds of every answer, and how many failed, by mode."""
    times: dict[str, list[float]] = defaultdict(list)
    failed: dict[str, int] = defaultdict(int)
    asyncio.run(_asked(host, 2.0, given.rate))  # warm up
    for _ in range(given.rounds):
        for mode in MODES:
            _set(released, mode)
            answered, lost = asyncio.run(_asked(host, given.seconds, given.rate))
            times[mode] += answered
            failed[mode] += lost
    return times, failed


def _set(released: Snapshots, mode: str) -> None:
    """Change the shadow, and wait until the worker has it."""
    version = 1 + MODES.index(mode)
    if mode == "none":
        released.shadow(NAME, 1)
    else:
        released.shadow(NAME, version, share=1.0)
    wanted = f'"version":{version}'

    def is_set() -> bool:
        texts = [file.read_text().replace(" ", "") for file in (released.path / "workers").glob("*.json")]
        shown = [text.split('"Shadow"', 1)[1] for text in texts if '"Shadow"' in text]
        return not shown if mode == "none" else any(wanted in text[:60] for text in shown)

    until(is_set, f"the worker has the shadow {mode}", 30)


async def _asked(host: Host, seconds: float, rate: float) -> tuple[list[float], int]:
    """Ask at a steady rate; a request begins when its time has come, also if the one before is not answered yet."""
    body = {"variables": {"question": QUESTION}, "context": CONTEXT}
    url = f"http://127.0.0.1:{host.port}/prompts/{NAME}/invocations"
    times: list[float] = []
    failed = 0

    async def one(http: httpx.AsyncClient) -> None:
        nonlocal failed
        began = time.perf_counter()
        try:
            answer = await http.post(url, json=body)
        except httpx.HTTPError:
            failed += 1
            return
        times.append(1000 * (time.perf_counter() - began))
        failed += answer.status_code != 200 or answer.headers["x-release"] != f"{NAME}/1"

    async with httpx.AsyncClient(transport=AiohttpTransport(), timeout=10) as http:
        tasks = []
        began = time.monotonic()
        for number in range(int(seconds * rate)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            tasks.append(asyncio.create_task(one(http)))
        await asyncio.gather(*tasks)
    return times, failed


def _measures(times: dict[str, list[float]], failed: dict[str, int]) -> Iterator[Measure]:
    quantiles = {mode: np.percentile(times[mode], [50, 99]) for mode in MODES}
    for mode in MODES[1:]:
        median, p99 = quantiles[mode] - quantiles["none"]
        against = f"{quantiles['none'][1]:.2f} ms without a shadow, {len(times['none'])} requests"
        yield Measure(f"{mode}: failed requests", failed[mode], "requests", f"of {len(times[mode])}", None, "0",
                      failed[mode] == 0)  # fmt: skip
        yield Measure(f"{mode}: added median", median, "ms")
        yield Measure(f"{mode}: added p99", p99, "ms", against, None, f"<= {GOAL_MS:g} ms", bool(p99 <= GOAL_MS))


if __name__ == "__main__":
    main()
