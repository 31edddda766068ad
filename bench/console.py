"""The console measured: a first load, pages for 20 viewers, memory, and processor time at rest.

    python -m bench.console

A stack of its own, with 20 prompts in Production. Each of 20 viewers asks for one page per second, in turn the live
page, a list of versions, one version and the record. What bounds the pages: the reading of ledger and presence, once a
second for all viewers together.
"""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from bench.report import Measure, report
from mlflow_project.promotion.promote import promote
from mlflow_project.settings import ConsoleSettings, load
from stack.supervision import Supervisor
from tests.conftest import own_settings, running
from tests.serving.conftest import Releases

NAMES, VIEWERS, SECONDS, IDLE_SECONDS = 20, 20, 20.0, 30.0
PAGES = ("/", "/names/name-1", "/names/name-1/1", "/record")


def main() -> None:
    """Measure, and report."""
    with own_settings() as state:
        running(state, "minio", "mlflow", "follower", "server", "guard", "console")
        releases = Releases()
        for number in range(NAMES):
            release = releases.seal(f"name-{number}", f"Answer as number {number}.")
            promote(releases.parts, f"name-{number}", release.version, "Production", "user:bench")
        report("console", list(measures(state, load(ConsoleSettings).console_url)), "Console")


def measures(state: Path, url: str) -> Iterator[Measure]:
    """Measure each goal of the console."""
    process = psutil.Process(Supervisor(state).processes()["console"]["pid"])
    yield at_most("first load of the live page", first_load(url), "KB", 150)
    yield at_most("page, p95 at 20 viewers", p95(url), "ms", 100)
    yield at_most("memory", memory(process), "MB", 150)
    used = processor_seconds(process)
    time.sleep(IDLE_SECONDS)
    share = 100 * (processor_seconds(process) - used) / IDLE_SECONDS
    yield at_most("processor time at rest", share, "% of a core", 1)


def at_most(measure: str, value: float, unit: str, most: float) -> Measure:
    """A figure that has an upper goal."""
    return Measure(measure, value, unit, goal=f"<= {most:g}", met=value <= most)


def first_load(url: str) -> float:
    """Kilobytes of the live page with all that it loads."""
    with httpx.Client(base_url=url, timeout=20) as client:
        page = client.get("/")
        files = [client.get(address) for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)]
    return sum(len(each.content) for each in (page, *files)) / 1000


def p95(url: str) -> float:
    """Milliseconds within which 95 of 100 pages came."""
    took: list[float] = []

    def view(number: int) -> None:
        end, turn = time.monotonic() + SECONDS, number
        time.sleep(number / VIEWERS)
        with httpx.Client(base_url=url, timeout=20) as client:
            while time.monotonic() < end:
                began = time.monotonic()
                client.get(PAGES[turn % len(PAGES)]).raise_for_status()
                took.append(1000 * (time.monotonic() - began))
                turn += 1
                time.sleep(max(0.0, 1 - (time.monotonic() - began)))

    threads = [threading.Thread(target=view, args=(number,)) for number in range(VIEWERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.quantiles(took, n=20)[-1]


def memory(process: psutil.Process) -> float:
    """Megabytes of the process and its children."""
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / 1e6


def processor_seconds(process: psutil.Process) -> float:
    """Of the process and its children."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


if __name__ == "__main__":
    main()
