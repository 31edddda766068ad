"""Load from the Go program in `bench/load`, and the CPU that a process and its children spent meanwhile."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Side:
    """One way to the provider: where it is asked with which body, and the process that answers."""

    name: str
    url: str
    pid: int
    body: Mapping[str, Any]
    key: str = ""


@dataclass(frozen=True)
class Loaded:
    """What one window of load showed. Requests a second; milliseconds; CPU milliseconds a request; shares of a core.
    `others` is what everything else on the machine used meanwhile: idle sides, a follower, and whoever works here."""

    rate: float
    p50: float
    p99: float
    failed: float
    cpu: float
    generator: float
    provider: float
    others: float

    @classmethod
    def middle(cls, windows: list[Loaded]) -> Loaded:
        """The median of each figure: what else runs on the machine disturbs a window, seldom most of them."""
        return cls(*(median(getattr(window, name) for window in windows) for name in cls.__dataclass_fields__))


@functools.cache
def built(program: str) -> Path:
    """One of the bench's Go programs, built for this run."""
    out = Path(tempfile.mkdtemp(prefix="switchyard-bench-")) / program
    subprocess.run(["go", "build", "-o", out, "."], cwd=Path(__file__).parent / program, check=True)
    return out


def load(side: Side, provider: int, seconds: float, *options: object) -> Loaded:
    """One window. `options` go to the generator: `-callers 64`, or `-rate 400`."""
    command: list[str] = [str(built("load")), "-url", side.url, "-body", json.dumps(side.body), "-key", side.key]
    before, asked_before, busy_before = cpu_seconds(side.pid), cpu_seconds(provider), _busy_seconds()
    ended = subprocess.run(
        [*command, "-seconds", str(seconds), *map(str, options)], check=True, capture_output=True, text=True
    )
    said = json.loads(ended.stdout)
    spent, asked = cpu_seconds(side.pid) - before, cpu_seconds(provider) - asked_before
    ours = said["cpu"] + asked + (spent if side.pid != provider else 0.0)
    return Loaded(
        rate=said["requests"] / said["seconds"],
        p50=said["p50"],
        p99=said["p99"],
        failed=said["failed"],
        cpu=1000 * spent / max(1.0, said["requests"]),
        generator=said["cpu"] / said["seconds"],
        provider=asked / said["seconds"],
        others=max(0.0, _busy_seconds() - busy_before - ours) / said["seconds"],
    )


def rounds(sides: list[Side], provider: int, seconds: float, count: int, *options: object) -> dict[str, Loaded]:
    """All sides in turn, several times over, so that a busy moment of the machine meets them all alike."""
    for side in sides:
        load(side, provider, 1.0, *options)  # connections and caches are warm then
    found: dict[str, list[Loaded]] = {side.name: [] for side in sides}
    for _ in range(count):
        for side in sides:
            found[side.name].append(load(side, provider, seconds, *options))
    return {name: Loaded.middle(windows) for name, windows in found.items()}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all below it."""
    root = psutil.Process(pid)
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


def _busy_seconds() -> float:
    """What all processors of this machine have worked, for whomever."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


@contextmanager
def process(command: list[str], log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs meanwhile, in a group of its own: what it started ends with it, also where it leaves that to
    others, as `mlflow gateway` does. Its output goes to a file."""
    with log.open("ab") as out:
        started = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **env}, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield started
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            started.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
