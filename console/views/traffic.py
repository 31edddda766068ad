"""Live traffic by release: totals as the hosts count them, and, where Prometheus runs, curves over the last hours.

In: the hosts' counts in the coordination bucket; Prometheus' HTTP API. Out: a `TrafficView`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from mlflow_project.adapters.connections import FAILURES, cause, pool_for
from mlflow_project.errors import Unavailable
from mlflow_project.guard.traffic import Traffic
from mlflow_project.parts import Parts
from mlflow_project.rules.guard.limits import Histogram, limit_bucket
from mlflow_project.snapshot.arm_counts import ArmCounts, ArmKey

HOURS = (1, 6, 24)
_POINTS = 120
_MOST_CURVES = 12
_DURATION = "switchyard_answer_duration"
QUERIES: Mapping[str, tuple[str, str]] = {
    "Requests per second": (f"sum by (release) (rate({_DURATION}_count[{{w}}]))", "1/s"),
    "Failed requests per second": (f'sum by (release) (rate({_DURATION}_count{{{{success="false"}}}}[{{w}}]))', "1/s"),
    "Latency, median": (f"histogram_quantile(0.5, sum by (release, le) (rate({_DURATION}_bucket[{{w}}])))", "ms"),
    "Latency, 99th percentile": (
        f"histogram_quantile(0.99, sum by (release, le) (rate({_DURATION}_bucket[{{w}}])))",
        "ms",
    ),
    "Cost per hour": ("sum by (release) (rate(switchyard_answer_cost_usd[{w}])) * 3600", "US dollars"),
    "Answers that say they do not know, per second": (
        "sum by (release) (rate(switchyard_answers_refused_total[{w}]))",
        "1/s",
    ),
    "Quality of sampled answers, mean": (
        "sum by (release, score) (rate(switchyard_answer_quality_sum[{w}])) / "
        "sum by (release, score) (rate(switchyard_answer_quality_count[{w}]))",
        "0 to 1",
    ),
}
"""Title -> PromQL with the window `w`, and the unit."""


@dataclass(frozen=True)
class Totals:
    """What the hosts have counted of one release on one arm. Latencies are upper ends of buckets, in milliseconds."""

    name: str
    version: int
    arm: str
    requests: int
    errors: int
    refusals: int
    judged: int
    negative: int
    median: float | None
    high: float | None


@dataclass(frozen=True)
class Curves:
    """One picture: times in seconds since the epoch, and a value or None for each of them, by release."""

    title: str
    unit: str
    times: Sequence[float]
    values: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Flipped:
    """A flip in the window, to be marked on the axis."""

    at: str
    label: str
    how: str


def totals(parts: Parts) -> list[Totals]:
    """What was counted, the busiest first.

    Raises:
        Unavailable: the store does not answer.
    """
    traffic = Traffic(parts.store)
    traffic.read()
    found = [_totals(arm, counts) for arm, counts in traffic.by_arm().items() if counts.requests]
    return sorted(found, key=lambda each: (-each.requests, each.name, each.version))


def curves(address: str, hours: int) -> list[Curves]:
    """The curves of the last hours, each over a window that grows with them.

    Raises:
        Unavailable: Prometheus does not answer.
    """
    end, step = int(time.time()), max(15, 3600 * hours // _POINTS)
    times = [float(end - step * back) for back in range(_POINTS, -1, -1)]
    window = f"{max(60, 4 * step)}s"
    found = []
    for title, (query, unit) in QUERIES.items():
        asked = {"query": query.format(w=window), "start": times[0], "end": times[-1], "step": step}
        rows = _asked(address, asked)
        values = {_label(row): _values(row, times) for row in rows[:_MOST_CURVES]}
        found.append(Curves(title, unit, times, values))
    return found


def flips(parts: Parts, hours: int) -> list[Flipped]:
    """The flips and rollbacks of the last hours, oldest first."""
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 3600 * hours))
    return [
        Flipped(each.time, f"{each.name}/{each.version}", each.type)
        for each in parts.ledger.records()
        if each.type in ("flip", "rollback", "observed_flip") and each.time >= since
    ]


def _totals(arm: ArmKey, counts: ArmCounts) -> Totals:
    return Totals(
        name=arm.name,
        version=arm.version,
        arm=arm.arm,
        requests=counts.requests,
        errors=counts.errors,
        refusals=counts.refusals,
        judged=counts.judged,
        negative=counts.negative,
        median=_quantile(counts.latency, 0.5),
        high=_quantile(counts.latency, 0.99),
    )


def _quantile(histogram: Histogram, share: float) -> float | None:
    bucket = limit_bucket(histogram, share)
    return None if bucket is None else float(2 ** (bucket / 4))


def _asked(address: str, asked: Mapping[str, Any]) -> list[Any]:
    url = f"{address.rstrip('/')}/api/v1/query_range?{urlencode(asked)}"
    try:
        response = pool_for(url).request("GET", url, timeout=5, retries=False)
        data = response.json()
        if response.status != 200 or data["status"] != "success":
            raise Unavailable(f"Prometheus at {address} refused a query: HTTP {response.status}.")
        return list(data["data"]["result"])
    except FAILURES as error:
        raise Unavailable(f"Prometheus at {address} does not answer ({cause(error)}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"Prometheus at {address} answered in another form.") from error


def _label(row: Mapping[str, Any]) -> str:
    named = row.get("metric", {})
    return " ".join(str(named[key]) for key in ("release", "score") if key in named) or "all"


def _values(row: Mapping[str, Any], times: Sequence[float]) -> list[float | None]:
    known = {float(at): float(value) for at, value in row.get("values", ())}
    return [value if (value := known.get(at)) is not None and value == value else None for at in times]
