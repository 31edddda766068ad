"""Measures how long callers meet a bad release before the guard takes it back, on a real server with a real guard.

`python -m bench.guard_live [--past 2000] [--rate 50] [--times 3]`, over its own MinIO and MLflow. The provider of the
old release fails one request in twenty, that of the new release one in five. The old release answers `--past` requests.
Then the new one is promoted, or gets 10 % of the traffic, as often as `--times` says.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench.registry import own_registry
from bench.report import Measure, report
from mlflow_project.domain.record import LedgerRecord, seconds_of
from mlflow_project.domain.rollout import Plan
from mlflow_project.parts import Parts
from mlflow_project.promotion.promote import promote
from mlflow_project.rollouts.start import start
from mlflow_project.snapshot.folder import ServingFolder
from tests.provider.fixtures import Simulated, running_provider
from tests.serving.conftest import Host, Releases, until
from tests.serving.test_guard_live import POLICY, Callers, fails, guard_process, record_of, two_versions

WHO = "user:bench"
FASTEST = 200.0
"""Requests a second while the old release gets its past."""


def main() -> None:
    """Measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--past", type=int, default=2_000, help="requests that the old release has answered")
    parser.add_argument("--rate", type=float, default=50, help="requests a second of all callers")
    parser.add_argument("--times", type=int, default=3, help="promotions, and rollouts, of a bad release")
    given = parser.parse_args()
    with own_registry(), bad_and_good_providers() as file, tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder) / "host", SWITCHYARD_PROVIDERS=file)
        try:
            host.start()
            releases = Releases()
            parts = replace(releases.parts, serving=ServingFolder(host.folder))
            with guard_process(host):
                promoted = [_promoted(given, host, releases, parts) for _ in range(given.times)]
                divided = [_divided(given, host, releases, parts) for _ in range(given.times)]
        finally:
            host.stop()
    report("guard_live", list(_measures(given, promoted, divided)), "The guard on a live server: errors 5 % -> 20 %")


@contextmanager
def bad_and_good_providers() -> Iterator[str]:
    """A file of the endpoints `steady`, which fails 5 %, and `shaky`, which fails 20 %."""
    with running_provider() as steady, running_provider() as shaky, tempfile.TemporaryDirectory() as folder:
        providers: dict[str, Simulated] = {"steady": steady, "shaky": shaky}
        steady.will(*fails(0.05, 1, 100_000))
        shaky.will(*fails(0.20, 2, 100_000))
        file = Path(folder) / "providers.yaml"
        lines = (
            f"  {name}: {{protocol: openai, url: {each.openai_url}, model: m}}\n" for name, each in providers.items()
        )
        file.write_text("endpoints:\n" + "".join(lines))
        yield str(file)


def _promoted(given: argparse.Namespace, host: Host, releases: Releases, parts: Parts) -> tuple[float, float]:
    """Seconds from the first to the last request on a bad release after its promotion, and from the guard's decision to
    the receipts of all workers."""
    name = two_versions(releases, parts, host)
    with Callers(host, name, FASTEST) as past:
        until(lambda: len(past.answers) >= given.past, "the old release has a past", 120)
    with Callers(host, name, given.rate) as callers:
        time.sleep(2)  # the past is published
        promote(parts, name, 2, "Production", WHO)
        record = _awaited(parts, name, "rollback")
        time.sleep(1)
    intent = parts.ledger.records()[(record.intent or 0) - 1]
    return _seconds_on(callers, f"{name}/2"), seconds_of(record.time) - seconds_of(intent.time)


def _divided(given: argparse.Namespace, host: Host, releases: Releases, parts: Parts) -> float:
    """Seconds from the first to the last request on a bad canary with 10 % of the traffic."""
    name = two_versions(releases, parts, host)
    with Callers(host, name, given.rate) as callers:
        start(parts, name, 2, Plan((0.1, 1.0), 600.0, "request", POLICY), WHO)
        _awaited(parts, name, "abort")
        time.sleep(1)
    return _seconds_on(callers, f"{name}/2")


def _awaited(parts: Parts, name: str, kind: str) -> LedgerRecord:
    until(lambda: record_of(parts, name, kind) is not None, f"the guard writes {kind}", 180)
    found = record_of(parts, name, kind)
    assert found is not None
    return found


def _seconds_on(callers: Callers, release: str) -> float:
    times = [each.at for each in callers.answers if each.release == release]
    return max(times) - min(times)


def _measures(
    given: argparse.Namespace, promoted: list[tuple[float, float]], divided: list[float]
) -> Iterator[Measure]:
    bad, receipts = [each[0] for each in promoted], [each[1] for each in promoted]
    about = f"{given.rate:g} requests/s, past of {given.past} requests"
    for what, values, most in (
        ("after a full promotion: seconds on the bad release", bad, 8),
        ("after a full promotion: from the decision to all receipts", receipts, 1),
        ("canary with 10 %: seconds on the bad release", divided, 45),
    ):
        yield Measure(f"{what}, median", median(values), "s", about, goal=f"<= {most}", met=median(values) <= most)
        yield Measure(f"{what}, longest of {len(values)}", max(values), "s", about)


if __name__ == "__main__":
    main()
