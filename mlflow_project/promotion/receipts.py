"""Which workers live, and what they say they serve: read from the hosts' presence records.

In: the coordination bucket. Out: the live workers, and how their receipts for one release came in. N is fixed when the
alias is set: a worker that dies while we wait is reported and not awaited.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.receipt import Presence
from mlflow_project.errors import NotFound

_LOOK_SECONDS = 0.015
_HOSTS = "hosts/"


@dataclass(frozen=True)
class Wanted:
    """The release that workers are to say they have."""

    name: str
    alias: str
    version: int
    digest: str


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


def presences(store: ObjectStore) -> list[Presence]:
    """Every host that has not expired, by this machine's clock."""
    found = []
    for item in store.list(store.settings.coordination_bucket, _HOSTS):
        presence = _presence(store, item.key)
        if presence is not None and presence.expires > time.time():
            found.append(presence)
    return found


def live_workers(hosts: Collection[Presence]) -> tuple[str, ...]:
    """All workers of these hosts."""
    return tuple(sorted(worker for host in hosts for worker in host.workers))


def workers_with(hosts: Collection[Presence], wanted: Wanted, states: Collection[str]) -> set[str]:
    """The workers that say they have the release, in one of these states."""
    return {
        receipt.worker
        for host in hosts
        for receipt in host.receipts
        if receipt.state in states
        and (receipt.name, receipt.alias, receipt.version, receipt.digest)
        == (wanted.name, wanted.alias, wanted.version, wanted.digest)
    }


def await_receipts(
    store: ObjectStore, wanted: Wanted, workers: tuple[str, ...], states: Collection[str], timeout: float, began: float
) -> Receipts:
    """Wait until each of these workers has said so, has died, or the time is over. `began`: of time.monotonic()."""
    seen: dict[str, float] = {}
    died: tuple[str, ...] = ()
    while True:
        hosts = presences(store) if workers else []
        now = (time.monotonic() - began) * 1000
        seen |= dict.fromkeys(workers_with(hosts, wanted, states) & set(workers) - seen.keys(), now)
        alive = live_workers(hosts)
        died = tuple(each for each in workers if each not in alive and each not in seen)
        missing = tuple(each for each in workers if each not in seen and each not in died)
        if not missing or time.monotonic() - began > timeout:
            return Receipts(workers, seen, missing, died)
        time.sleep(_LOOK_SECONDS)


def _presence(store: ObjectStore, key: str) -> Presence | None:
    """One host's record; None when it is gone, or is none."""
    try:
        found = Presence.from_dict(json.loads(store.get(store.settings.coordination_bucket, key)))
    except (NotFound, ValueError, KeyError, TypeError, AttributeError):
        return None
    said = isinstance(found.expires, int | float) and all(isinstance(worker, str) for worker in found.workers)
    return found if said else None
