"""Load that counts failures, and faults of real processes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import psutil
import pytest

from tests.serving.conftest import Host, until


class Load:
    """A few callers in a closed loop. `failures` are answers that were no 200, and broken connections."""

    def __init__(self, host: Host, name: str, callers: int = 4) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self.releases: set[str] = set()
        self._url = f"http://127.0.0.1:{host.port}/prompts/{name}/invocations"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def through(self, seconds: float) -> None:
        """Let some time go by, and see that answers come after it, however slow the machine is."""
        time.sleep(seconds)
        before = self.answers
        until(lambda: self.answers > before, "answers come", 10)

    def _call(self) -> None:
        with httpx.Client(timeout=10) as http:
            while not self._stop.is_set():
                try:
                    answer = http.post(self._url, json={"variables": {"question": "why?"}})
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code != 200 or answer.headers["X-Release"] != answer.json()["release"]:
                    self.failures.append(answer.text)
                self.answers += 1
                self.releases.add(answer.headers.get("X-Release", ""))
                time.sleep(0.005)


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end."""
    for pid in pids:
        psutil.Process(pid).send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in filter(psutil.pid_exists, pids):
            psutil.Process(pid).send_signal(signal.SIGCONT)


def listening_on(url: str) -> list[int]:
    """The processes that serve a local address."""
    port = httpx.URL(url).port
    found = {c.pid for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port}
    return [pid for pid in found if pid is not None]


@pytest.fixture
def load() -> Callable[..., Load]:
    return Load
