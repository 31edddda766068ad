"""Which workers live, and what they say they serve: read from the hosts' presence records.

In: the coordination bucket. Out: the live workers, and how their receipts for one release came in. N is fixed when the
alias is set: a worker that dies while we wait is reported and not awaited.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.receipt import Presence
from mlflow_project.promotion.hosts import presences

_LOOK_SECONDS = 0.015
OnReceipt = Callable[[str, float], None]


@dataclass(frozen=True)
class Wanted:
    """The release that workers are to say they have; with `share`, also the share of the units that they send to it."""

    name: str
    alias: str
    version: int
    digest: str
    share: float | None = None


@dataclass(frozen=True)
class Receipts:
    """`milliseconds` by worker, since the waiting began; `missing` lived and said nothing; `died` are gone."""

    workers: tuple[str, ...]
    milliseconds: dict[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    died: tuple[str, ...] = ()

    @property
    def slowest(self) -> tuple[str, float] | None:
        """The last worker, and when."""
        return max(self.milliseconds.items(), key=lambda item: item[1], default=None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        slowest = self.slowest
        return {
            "received": len(self.milliseconds),
            "workers": len(self.workers),
            "slowest": slowest[0] if slowest else None,
            "milliseconds": round(slowest[1], 1) if slowest else None,
            "missing": list(self.missing),
            "died": list(self.died),
        }


def live_workers(hosts: Collection[Presence]) -> tuple[str, ...]:
    """All workers of these hosts."""
    return tuple(sorted({worker for host in hosts for worker in host.workers}))


def workers_with(hosts: Collection[Presence], wanted: Wanted, states: Collection[str]) -> set[str]:
    """The workers that have the release in one of these states, by every host that lists them.

    A receipt counts only in the record of a host that lists its worker. A worker that two hosts list needs both: so no
    host can speak for the worker of another.
    """
    listed = Counter(worker for host in hosts for worker in set(host.workers))
    having = Counter(worker for host in hosts for worker in _workers_of(host, wanted, states))
    return {worker for worker, count in having.items() if count == listed[worker]}


def _workers_of(host: Presence, wanted: Wanted, states: Collection[str]) -> set[str]:
    release = (wanted.name, wanted.alias, wanted.version, wanted.digest)
    return {
        receipt.worker
        for receipt in host.receipts
        if receipt.state in states
        and (receipt.name, receipt.alias, receipt.version, receipt.digest) == release
        and wanted.share in (None, receipt.share)
    } & set(host.workers)


def await_receipts(
    store: ObjectStore,
    wanted: Wanted,
    workers: tuple[str, ...],
    states: Collection[str],
    timeout: float,
    began: float,
    on_receipt: OnReceipt | None = None,
) -> Receipts:
    """Wait until each of these workers has said so, has died, or the time is over. `began`: of time.monotonic().

    Args:
        on_receipt: called with each worker when it has said so, and the milliseconds since `began`.
    """
    return await_workers(store, workers, lambda hosts: workers_with(hosts, wanted, states), timeout, began, on_receipt)


def await_end(
    store: ObjectStore,
    ended: Wanted,
    workers: tuple[str, ...],
    timeout: float,
    began: float,
    on_receipt: OnReceipt | None = None,
) -> Receipts:
    """Wait until none of these workers says any more that it serves this release under this alias."""

    def without(hosts: Collection[Presence]) -> set[str]:
        return set(live_workers(hosts)) - workers_with(hosts, ended, ("serving",))

    return await_workers(store, workers, without, timeout, began, on_receipt)


def await_workers(
    store: ObjectStore,
    workers: tuple[str, ...],
    done: Callable[[Collection[Presence]], set[str]],
    timeout: float,
    began: float,
    on_receipt: OnReceipt | None = None,
) -> Receipts:
    """Wait until each of these workers is among those that `done` finds in the hosts, has died, or the time is over."""
    seen: dict[str, float] = {}
    died: tuple[str, ...] = ()
    while True:
        hosts = presences(store) if workers else []
        now = (time.monotonic() - began) * 1000
        for worker in sorted(done(hosts) & set(workers) - seen.keys()):
            seen[worker] = now
            if on_receipt is not None:
                on_receipt(worker, now)
        alive = live_workers(hosts)
        died = tuple(each for each in workers if each not in alive and each not in seen)
        missing = tuple(each for each in workers if each not in seen and each not in died)
        if not missing or time.monotonic() - began > timeout:
            return Receipts(workers, seen, missing, died)
        time.sleep(_LOOK_SECONDS)
