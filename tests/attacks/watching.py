"""Watches `/health/live` while something else is asked: the longest time in which the event loop answered nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import httpx

from tests.serving.conftest import Host

MOST_STALL_SECONDS = 0.1


def stall_of(host: Host, ask: Callable[[], object], tries: int = 5) -> float:
    """The longest answer of `/health/live` while `ask` runs, in seconds.

    The best of a few tries: a crowded machine delays everything now and then, and a real stall comes every time.
    """
    stall = _longest(host, ask)
    while stall >= MOST_STALL_SECONDS and (tries := tries - 1):
        stall = min(stall, _longest(host, ask))
    return stall


def _longest(host: Host, ask: Callable[[], object]) -> float:
    worker = threading.Thread(target=ask)
    longest = 0.0
    with httpx.Client(base_url=f"http://127.0.0.1:{host.port}", timeout=30) as client:
        client.get("/health/live").raise_for_status()
        worker.start()
        while worker.is_alive():
            began = time.monotonic()
            client.get("/health/live").raise_for_status()
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.002)
    worker.join()
    return longest
