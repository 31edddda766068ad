"""What only time shows: ten thousand flips under load, and half an hour of traffic in flat memory.

`make test-long` runs them whole; `SWITCHYARD_TEST_FLIPS` and `SWITCHYARD_TEST_SOAK_SECONDS` make them shorter.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable

import pytest

from tests.serving.conftest import Host, Releases, resident_mb
from tests.serving.under_load import EVERY_TRACE, Load, collected, sealed_pair

FLIPS = int(os.environ.get("SWITCHYARD_TEST_FLIPS", "10000"))
SOAK_SECONDS = float(os.environ.get("SWITCHYARD_TEST_SOAK_SECONDS", "1800"))
REQUESTS_A_SECOND = 200
FLAT = 1.05


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
def test_ten_thousand_flips_fail_no_request_and_no_answer_disagrees_with_itself(
    released: Releases, new_host: Callable[..., Host]
) -> None:
    pair = sealed_pair(released, "endurance")
    released.point("endurance", pair[0].version)
    with collected() as traces:
        host = new_host(SWITCHYARD_API_WORKERS="4", OTEL_EXPORTER_OTLP_ENDPOINT=traces.url, **EVERY_TRACE).start()
        host.serves("endurance", pair[0].version)
        with Load(host, "endurance", callers=4, rate=50) as load:
            for release, _ in zip(itertools.cycle(reversed(pair)), range(FLIPS), strict=False):
                released.point("endurance", release.version)
                host.serves("endurance", release.version)
        host.stop()
        assert load.answers > FLIPS / 20
        assert load.failed == 0
        assert load.disagreed == 0
        assert load.disagreeing_traces(traces) == 0
        assert len(load.named.keys() & traces.release.keys()) > load.answers / 2
        assert sorted(len(texts) for texts in load.texts.values()) == [1, 1]


@pytest.mark.long
@pytest.mark.timeout(2 * 3600)
def test_half_an_hour_of_traffic_leaves_memory_flat(released: Releases, new_host: Callable[..., Host]) -> None:
    pair = sealed_pair(released, "soaked")
    released.point("soaked", pair[0].version)
    with collected() as traces:
        host = new_host(OTEL_EXPORTER_OTLP_ENDPOINT=traces.url).start()
        host.serves("soaked", pair[0].version)
        (worker,) = host.workers()
        with Load(host, "soaked", callers=16, rate=REQUESTS_A_SECOND) as load:
            time.sleep(SOAK_SECONDS / 6)  # what grows at first is caches and pools
            early = _memory(worker, SOAK_SECONDS / 12)
            time.sleep(SOAK_SECONDS * 8 / 12)
            late = _memory(worker, SOAK_SECONDS / 12)
        assert load.failed == 0
        assert load.answers > 0.8 * REQUESTS_A_SECOND * SOAK_SECONDS
        assert late <= FLAT * early, f"memory grew from {early:.1f} to {late:.1f} MB"


def _memory(pid: int, seconds: float) -> float:
    """The median of its resident memory over a while, in MB."""
    seen, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        seen.append(resident_mb(pid))
        time.sleep(min(1.0, seconds / 10))
    return statistics.median(seen)
