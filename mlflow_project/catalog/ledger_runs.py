"""Gate, promotion, rollback, rollout, shadow and replay as records of runs. Pure: all of it is in the ledger.

In: every record of the ledger, with digests. Out: records of runs, in order, each with the serial that it is made of.
An intent starts a run and its outcome ends it. What one record decides, such as a verdict, starts and ends at once.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_project.adapters import run_datasets as datasets
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.run import Dataset, RunRecord, read_parents
from mlflow_project.rules.canonical import digest_of

_ENDS = {"flip": "COMPLETE", "rollback": "COMPLETE", "aborted": "FAIL"}
_IN_ROLLOUT = {"step": "RUNNING", "hold": "RUNNING", "resume": "RUNNING", "finish": "COMPLETE", "abort": "ABORT"}
_AT_ONCE = {
    "seal": "gate",
    "refusal": "gate",
    "approval": "approve",
    "observed_flip": "observe",
    "observed_violation": "observe",
    "reconciled": "reconcile",
    "replay": "replay",
    "retraction": "retract",
}


@dataclass(frozen=True)
class FromLedger:
    """A record of a run, and the serial of the ledger's record that it is made of."""

    serial: int
    run: RunRecord


def runs_of(records: Iterable[LedgerRecord]) -> Iterator[FromLedger]:
    """The runs of a ledger. `records` must be all of it, from the first on. Other types of records are passed over."""
    opened: dict[tuple[str, str], LedgerRecord] = {}
    rollouts: dict[int, LedgerRecord] = {}
    seals: dict[tuple[str, int | None], LedgerRecord] = {}
    for record in records:
        kind, name = record.type, (record.kind, record.name)
        if kind == "seal":
            seals[record.name, record.version] = record
        sealed = seals.get((record.name, record.version))
        made: list[RunRecord] = []
        if kind in _AT_ONCE:
            made = [
                _run(record, record, f"{_AT_ONCE[kind]}.{record.name}", end, sealed) for end in ("START", "COMPLETE")
            ]
        elif kind == "intent":
            opened[name] = record
            made = [_run(record, record, _flip_job(record), "START", sealed)]
        elif kind in _ENDS and name in opened:
            intent = opened.pop(name)
            made = [_run(intent, record, _flip_job(intent), _ENDS[kind], sealed)]
        elif kind in ("rollout", "shadow"):
            rollouts[record.serial] = record
            made = [_run(record, record, f"{kind}.{record.name}", "START", sealed)]
        elif record.intent in rollouts and (kind in _IN_ROLLOUT or kind == "shadow_stop"):
            first = rollouts[record.intent or 0]
            made = [_run(first, record, f"{first.type}.{record.name}", _IN_ROLLOUT.get(kind, "COMPLETE"), sealed)]
        yield from (FromLedger(record.serial, each) for each in made)


def _flip_job(intent: LedgerRecord) -> str:
    return f"{'rollback' if intent.evidence.get('how') == 'rollback' else 'promote'}.{intent.name}"


def _run(first: LedgerRecord, record: LedgerRecord, job: str, state: str, sealed: LedgerRecord | None) -> RunRecord:
    """One record of the run that began with `first`."""
    parent, root = read_parents(first.evidence.get("started_by"))
    facets = {"releaseSeal": _seal_facet(sealed)} if sealed is not None else {}
    inputs = [datasets.release(record.kind, record.name, record.version, record.digest, **facets)]
    evidence = _verdict_evidence(record)
    evaluation = _evaluation(record, evidence) if evidence else None
    if evidence:
        run = (evidence.get("runs") or {}).get("candidate")
        cases = evidence.get("cases") or {}
        inputs += [datasets.evaluation(record.name, run), datasets.cases(record.name, cases.get("digest"))]
    return RunRecord(
        key=f"ledger {first.serial} {digest_of(first.to_dict())}",
        job=job,
        state=state,
        time=record.time,
        who=record.who,
        description=record.why,
        inputs=tuple(inputs),
        outputs=tuple(_outputs(record, job)),
        error=(record.why or record.type) if state in ("FAIL", "ABORT") else None,
        parent=parent,
        root=root,
        evaluation=evaluation,
    )


def _outputs(record: LedgerRecord, job: str) -> list[Dataset]:
    if record.alias is not None:
        return [datasets.alias(record.name, record.alias, record.version)]
    if job.startswith("gate."):
        return [Dataset("switchyard", f"verdicts/{record.name}", str(record.serial))]
    return []


def _verdict_evidence(record: LedgerRecord) -> Mapping[str, Any]:
    """What the gate decided and on what; empty for a record that is no verdict, or whose statement cannot be read."""
    if record.type == "refusal":
        return record.evidence
    if record.type != "seal":
        return {}
    try:
        predicate = json.loads(base64.b64decode(record.evidence["envelope"]["payload"]))["predicate"]
    except (KeyError, TypeError, ValueError):
        return {}
    return predicate if isinstance(predicate, Mapping) else {}


def _evaluation(record: LedgerRecord, evidence: Mapping[str, Any]) -> dict[str, Any]:
    verdict, champion = evidence.get("verdict") or {}, evidence.get("champion")
    said = {
        "run": (evidence.get("runs") or {}).get("candidate"),
        "candidate": f"{record.name}/{record.version}",
        "champion": f"{record.name}/{champion['version']}" if champion else None,
        "cases": evidence.get("cases"),
        "policy": (evidence.get("policy") or {}).get("digest"),
        "verdict": {"accepted": verdict.get("accepted") is True, "reasons": list(verdict.get("reasons", ()))},
    }
    return {key: value for key, value in said.items() if value is not None}


def _seal_facet(seal: LedgerRecord) -> dict[str, Any]:
    said = {"record": seal.serial, "digest": seal.digest, "sealedAt": seal.time, "sealedBy": seal.who}
    return {**said, "name": seal.name, "version": seal.version}
