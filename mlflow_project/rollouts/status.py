"""Shows the rollout of a name, or how its last one ended. In: the ledger and the hosts' presence. Reads only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from mlflow_project.domain.record import LedgerRecord, seconds_of
from mlflow_project.domain.rollout import CANARY, Rollout
from mlflow_project.domain.times import utc_text
from mlflow_project.errors import NotFound
from mlflow_project.parts import Parts
from mlflow_project.promotion.hosts import presences
from mlflow_project.promotion.receipts import Wanted, live_workers, workers_with

_ENDS = ("abort", "finish")


def status(parts: Parts, name: str) -> dict[str, Any]:
    """The rollout under way with the workers that follow it (`rollout`), and the record that ended the last one
    (`last`). Both may be None.

    Raises:
        NotFound: the ledger does not know the name.
    """
    state = parts.ledger.state()
    if name not in state.names:
        raise NotFound(f"The ledger knows no prompt or model {name!r}. `switchyard list` shows what exists.")
    rollout = state.of(name).rollout
    ends = [record for record in parts.ledger.records() if record.name == name and record.type in _ENDS]
    return {
        "name": name,
        "rollout": _shown(parts, rollout) if rollout is not None else None,
        "last": _ended(ends[-1]) if ends else None,
    }


def next_step_at(rollout: Rollout) -> str | None:
    """When the next step is due, UTC in ISO 8601. None: it is held, at its end, or a person takes each step."""
    if rollout.held or rollout.seconds is None or rollout.next_share is None or rollout.share == 0:
        return None
    due = datetime.fromtimestamp(seconds_of(rollout.step_since), UTC) + timedelta(seconds=rollout.seconds)
    return utc_text(due)


def _shown(parts: Parts, rollout: Rollout) -> dict[str, Any]:
    hosts = presences(parts.store)
    workers = live_workers(hosts)
    wanted = Wanted(rollout.name, CANARY, rollout.version, rollout.digest, rollout.share)
    following = workers_with(hosts, wanted, ("serving",)) & set(workers)
    return {
        **rollout.to_dict(),
        "next_step_at": next_step_at(rollout),
        "workers": len(workers),
        "following": len(following),
        "missing": [worker for worker in workers if worker not in following],
    }


def _ended(record: LedgerRecord) -> dict[str, Any]:
    return {
        "how": "aborted" if record.type == "abort" else "finished",
        "rollout": record.intent,
        "version": record.version,
        "time": record.time,
        "who": record.who,
        "why": record.why,
        "serial": record.serial,
    }
