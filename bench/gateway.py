"""Requests a second, latency and CPU of the server beside other ways to reach a provider, all in one run.

`python -m bench.gateway [--seconds 5] [--latency-ms 50]`, over the running stack (`make up`) and with Go. Sides: the
provider directly, the floor for Python, FastAPI with httpx, FastAPI with httpx over aiohttp, and Switchyard with
everything on. One worker each. LiteLLM and `mlflow gateway` are not among the sides yet.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.report import Measure, report
from mlflow_project.domain.release import ProviderChoice
from stack.ports import free_port
from tests.serving.conftest import ROOT, Host, Releases, until

NAME = "bench-gateway"
CHAT = {"model": NAME, "messages": [{"role": "user", "content": "Why?"}]}


@dataclass(frozen=True)
class Side:
    """One way to the provider."""

    name: str
    url: str
    pid: int


def main() -> None:
    """Start all sides, load each in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--latency-ms", type=float, default=50)
    parser.add_argument("--callers", type=int, nargs="+", default=[16, 64])
    given = parser.parse_args()
    with ExitStack() as running:
        load = _load_generator(Path(running.enter_context(tempfile.TemporaryDirectory())))
        sides = list(_sides(running, given.latency_ms))
        measures = []
        for callers in given.callers:
            found = {side.name: _loaded(load, side, callers, given.seconds) for side in sides}
            measures += list(_measures(callers, found))
    report("gateway", measures, f"Gateways, provider at {given.latency_ms:g} ms")


def _sides(running: ExitStack, latency_ms: float) -> Iterator[Side]:
    port = free_port()
    command = ["-m", "tests.provider", "--port", str(port), "--latency-ms", str(latency_ms)]
    provider = running.enter_context(_process(command))
    to = f"http://127.0.0.1:{port}/v1/chat/completions"
    _await(to)
    yield Side("provider", to, provider.pid)
    for relay in ("floor", "fastapi_httpx", "fastapi_aiohttp"):
        port = free_port()
        options = ["--port", str(port), "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
        process = running.enter_context(_process(["-m", "uvicorn", f"bench.relays:{relay}", *options], RELAY_TO=to))
        _await(f"http://127.0.0.1:{port}/")
        yield Side(relay, f"http://127.0.0.1:{port}/", process.pid)
    yield _switchyard(running, to)


def _switchyard(running: ExitStack, to: str) -> Side:
    releases = Releases()
    release = releases.seal(NAME, provider=ProviderChoice("openai", "simulated-1", {"tries": 1}))
    releases.point(NAME, release.version)
    folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
    host = Host(folder / "bench", LLM_API_URL=to, SWITCHYARD_LOG_TEXTS="true")
    running.callback(host.stop)
    host.start()
    host.serves(NAME, release.version)
    return Side("switchyard", f"http://127.0.0.1:{host.port}/v1/chat/completions", host.workers()[0])


def _loaded(load: Path, side: Side, callers: int, seconds: float) -> dict[str, float]:
    """The generator's figures, and the server's CPU milliseconds a request."""
    options = ["-url", side.url, "-body", json.dumps(CHAT), "-callers", str(callers)]
    subprocess.run([load, *options, "-seconds", "1"], check=True, capture_output=True)
    before = _cpu(side.pid)
    ended = subprocess.run([load, *options, "-seconds", str(seconds)], check=True, capture_output=True)
    found: dict[str, float] = json.loads(ended.stdout)
    found["rate"] = found["requests"] / found["seconds"]
    found["server_cpu"] = 1000 * (_cpu(side.pid) - before) / max(1.0, found["requests"])
    return found


def _measures(callers: int, found: dict[str, dict[str, float]]) -> Iterator[Measure]:
    ours, floor, aio = found["switchyard"], found["floor"], found["fastapi_aiohttp"]
    for name, side in found.items():
        yield Measure(f"{callers} callers, {name}", side["rate"], "requests/s")
        yield Measure(f"{callers} callers, {name}: p50", side["p50"], "ms")
        yield Measure(f"{callers} callers, {name}: p99", side["p99"], "ms")
        yield Measure(f"{callers} callers, {name}: server CPU", side["server_cpu"], "ms/request")
        yield Measure(f"{callers} callers, {name}: failed", side["failed"], "requests")
    ratio = ours["rate"] / floor["rate"]
    yield Measure(
        f"{callers} callers, against the floor", ours["rate"], "requests/s", "floor", ratio, ">= 0.7", ratio >= 0.7
    )
    ratio = ours["server_cpu"] / floor["server_cpu"]
    yield Measure(f"{callers} callers, CPU", ours["server_cpu"], "ms", "floor", ratio, "<= 2.2", ratio <= 2.2)
    ratio = ours["server_cpu"] / aio["server_cpu"]
    yield Measure(f"{callers} callers, CPU", ours["server_cpu"], "ms", "FastAPI+aiohttp", ratio, "<= 1.3", ratio <= 1.3)
    share = ours["cpu"] / ours["seconds"]
    yield Measure(f"{callers} callers, load generator", share, "of a core")


def _load_generator(folder: Path) -> Path:
    source = Path(__file__).parent / "load"
    subprocess.run(["go", "build", "-o", folder / "load", "."], cwd=source, check=True)
    return folder / "load"


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@contextmanager
def _process(command: list[str], **env: str) -> Iterator[subprocess.Popen[Any]]:
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env={**os.environ, **env})
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def _await(url: str) -> None:
    def answers() -> bool:
        try:
            return httpx.post(url, json=CHAT, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    until(answers, f"{url} answers", 120)


if __name__ == "__main__":
    main()
