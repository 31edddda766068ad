"""Shows what is live, what was live at a time, and the records about a name.

In: the ledger; for `live` also the hosts' presence records. Out: rows for people and for JSON. MLflow is not asked.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.rollout import CANARY, Rollout, percent
from mlflow_project.domain.times import read_time, utc_text
from mlflow_project.errors import NotFound
from mlflow_project.ledger import LiveVersion, NameState, replay
from mlflow_project.parts import Parts
from mlflow_project.promotion.hosts import presences
from mlflow_project.promotion.receipts import Wanted, live_workers, workers_with

_HOW = {"flip": "completed", "rollback": "completed", "observed_flip": "observed", "intent": "intended"}


@dataclass(frozen=True)
class LiveRow:
    """One alias of one name. `serving` of `workers` say that they serve exactly this. `share` is set for the canary of
    a rollout: which share of the requests for Production it gets, 0 to 1.
    """

    kind: str
    name: str
    alias: str
    version: int
    digest: str
    since: str
    who: str
    why: str
    how: str
    serving: int
    workers: int
    missing: tuple[str, ...]
    share: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def live(parts: Parts) -> list[LiveRow]:
    """What is live by the record, canaries included, and which workers say that they serve it."""
    hosts = presences(parts.store)
    workers = live_workers(hosts)
    rows = []
    for state in parts.ledger.state().names.values():
        aliases = dict(state.live)
        share = None
        if state.rollout is not None:
            aliases[CANARY], share = _canary(state.rollout), state.rollout.share
        for alias, found in sorted(aliases.items()):
            of = share if alias == CANARY else None
            wanted = Wanted(state.name, alias, found.version, found.digest, of)
            serving = workers_with(hosts, wanted, ("serving",)) & set(workers)
            missing = tuple(worker for worker in workers if worker not in serving)
            row = _row(state, alias, found)
            rows.append(LiveRow(**row, serving=len(serving), workers=len(workers), missing=missing, share=of))
    return rows


def _canary(rollout: Rollout) -> LiveVersion:
    how = f"{'held' if rollout.held else 'rollout'} at {percent(rollout.share)}"
    return LiveVersion(rollout.version, rollout.digest, rollout.opened, rollout.who, rollout.why, how, rollout.id)


def history(parts: Parts, name: str) -> list[LedgerRecord]:
    """Every record about a name, oldest first.

    Raises:
        NotFound: there is none.
    """
    records = [record for record in parts.ledger.records() if record.name == name]
    if not records:
        raise NotFound(f"The ledger has no record of {name!r}. `switchyard list` shows what exists.")
    return records


def at(parts: Parts, time: str) -> list[dict[str, Any]]:
    """What was live for every name at a time, with its evidence: `state` is `completed`, `observed`, or `intended`
    for a flip that was under way then.

    Raises:
        InvalidData: no time in ISO 8601.
    """
    moment = record_time(time)
    records = [record for record in parts.ledger.records() if record.time <= moment]
    by_serial = {record.serial: record for record in records}
    rows = []
    for state in replay(records).names.values():
        for alias, found in sorted(state.live.items()):
            rows.append(_then(state, alias, found, by_serial[found.serial]))
        if state.intent is not None:
            rows.append(_intended(state, state.intent))
        if state.rollout is not None:
            rows.append(_then(state, CANARY, _canary(state.rollout), by_serial[state.rollout.id]))
    return rows


def _then(state: NameState, alias: str, found: LiveVersion, record: LedgerRecord) -> dict[str, Any]:
    seal = state.seal_of(found)
    evidence = {
        "record": record.to_dict(),
        "seal": {"serial": seal.serial, "envelope": seal.envelope} if seal else None,
    }
    return {**_row(state, alias, found), "state": _HOW.get(found.how, found.how), "evidence": evidence}


def _intended(state: NameState, intent: LedgerRecord) -> dict[str, Any]:
    found = LiveVersion(
        intent.version or 0, intent.digest or "", intent.time, intent.who, intent.why, "intent", intent.serial
    )
    return _then(state, intent.alias or "", found, intent)


def _row(state: NameState, alias: str, found: LiveVersion) -> dict[str, Any]:
    return {
        "kind": state.kind,
        "name": state.name,
        "alias": alias,
        "version": found.version,
        "digest": found.digest,
        "since": found.since,
        "who": found.who,
        "why": found.why,
        "how": found.how,
    }


def record_time(time: str) -> str:
    """A time in ISO 8601 as records write it; without an offset it is UTC.

    Raises:
        InvalidData: it is no time.
    """
    moment = read_time(time)
    end = moment.replace(microsecond=999_000) if moment.microsecond == 0 else moment
    return utc_text(end)
