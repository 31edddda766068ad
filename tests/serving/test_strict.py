"""Strict resolving: no answer by a release that the alias had left before the request came."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import httpx

from tests.serving.conftest import Host, Releases


def test_in_strict_mode_the_very_next_answer_is_the_new_release(
    released: Releases, new_host: Callable[..., Host]
) -> None:
    released.seal("strict", "one")
    released.seal("strict", "two")
    released.point("strict", 1)
    host = new_host(SWITCHYARD_RESOLVE="strict", SWITCHYARD_POLL_MS="2000").start()
    host.serves("strict", 1)
    in_time = 0
    for version, _ in zip(itertools.cycle([2, 1]), range(8), strict=False):
        released.point("strict", version)
        answer = host.ask("strict")
        if "X-Release-Stale" not in answer.headers:
            assert answer.headers["X-Release"] == f"strict/{version}"
            in_time += 1
    assert in_time > 0


def test_in_strict_mode_the_last_known_good_answers_when_the_registry_does_not(
    released: Releases, new_host: Callable[..., Host]
) -> None:
    released.seal("strictly", "one")
    released.point("strictly", 1)
    host = new_host(SWITCHYARD_RESOLVE="strict").start()
    host.serves("strictly", 1)
    host.stop()
    host.env |= {"SWITCHYARD_MLFLOW_URI": "http://127.0.0.1:9"}
    host.http = httpx.Client(base_url=f"http://127.0.0.1:{host.port}", timeout=10)
    host.start_server()
    began = time.monotonic()
    answer = host.ask("strictly")
    assert time.monotonic() - began < 1
    assert answer.headers["X-Release"] == "strictly/1"
    assert "X-Release-Stale" in answer.headers
