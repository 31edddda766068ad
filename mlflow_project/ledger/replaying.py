"""Replays records into a `State`. Pure.

In: records in serial order. Out: the state after the last one. An outcome that answers no open intent is ignored: its
promoter stalled, and somebody else has ended its intent meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.rollout import Rollout
from mlflow_project.domain.shadow import Shadow, ShadowLimits
from mlflow_project.errors import InvalidData
from mlflow_project.ledger.state import PRODUCTION, LiveVersion, NameState, Retraction, RolledBack, Seal, State

STALLED = "stalled"
"""The value of `writer` in the evidence of an undone intent, unless its writer is known to be dead."""


def replay(records: Iterable[LedgerRecord]) -> State:
    """The state after these records, in this order."""
    state = State()
    for record in records:
        state.serial, state.time = record.serial, record.time
        if record.type not in _APPLY:
            state.strange.append(record)
            continue
        name = state.names.setdefault(record.name, NameState(record.kind, record.name))
        try:
            _APPLY[record.type](name, record)
        except InvalidData:
            state.strange.append(record)
    return state


def _seal(name: NameState, record: LedgerRecord) -> None:
    evidence, guard = record.evidence, record.evidence.get("guard")
    seal = Seal(
        version=_version(record),
        digest=record.digest or "",
        envelope=evidence.get("envelope", {}),
        recorded=record.time,
        serial=record.serial,
        protected=bool(evidence.get("protected", False)),
        guard=guard if isinstance(guard, Mapping) else None,
    )
    name.seals[seal.version] = name.all_seals[seal.version, seal.digest] = seal
    name.refusals.pop(_version(record), None)


def _refusal(name: NameState, record: LedgerRecord) -> None:
    name.refusals[_version(record)] = record


def _approval(name: NameState, record: LedgerRecord) -> None:
    name.approvals.append(record)


def _intent(name: NameState, record: LedgerRecord) -> None:
    name.intent = record


def _flip(name: NameState, record: LedgerRecord) -> None:
    if _answers(name, record):
        _stand(name, record)


def _rollback(name: NameState, record: LedgerRecord) -> None:
    if not _answers(name, record):
        return
    if record.alias == PRODUCTION:
        _take_back(name, record)
    _stand(name, record)


def _take_back(name: NameState, record: LedgerRecord) -> None:
    """Mark every version that was live after the one that this rollback goes back to."""
    versions = [item.version for item in name.production]
    if record.version not in versions:
        return
    last = len(versions) - 1 - versions[::-1].index(record.version)
    for item in name.production[last + 1 :]:
        if item.version not in name.rolled_back:
            name.rolled_back[item.version] = RolledBack(
                item.version, item.digest, _version(record), record.time, record.who, record.why, record.serial
            )


def _aborted(name: NameState, record: LedgerRecord) -> None:
    if _answers(name, record) and record.evidence.get("writer") == STALLED:
        name.stalled[record.alias or "", _version(record)] = record.intent or 0


def _observed_flip(name: NameState, record: LedgerRecord) -> None:
    _stand(name, record)


def _observed_violation(name: NameState, record: LedgerRecord) -> None:
    name.violations[record.alias or ""] = record.version


def _reconciled(name: NameState, record: LedgerRecord) -> None:
    name.violations.pop(record.alias or "", None)


def _retraction(name: NameState, record: LedgerRecord) -> None:
    digest, index = record.digest or "", record.evidence.get("index")
    if isinstance(index, str):
        name.retracted.setdefault(
            digest, Retraction(_version(record), digest, index, record.time, record.who, record.why, record.serial)
        )


def _replayed(name: NameState, record: LedgerRecord) -> None:
    """Nothing changes: the gate reads these records itself."""


def _shadow(name: NameState, record: LedgerRecord) -> None:
    """Begin a shadow. One whose limits make no sense is no shadow, whoever wrote it."""
    with contextlib.suppress(InvalidData):
        limits = ShadowLimits.from_dict(record.evidence.get("limits"))
        version, digest = _version(record), record.digest or ""
        name.shadow = Shadow(record.serial, version, digest, limits, record.time, record.who, record.why)


def _shadow_stop(name: NameState, record: LedgerRecord) -> None:
    if name.shadow is not None and name.shadow.id == record.intent:
        name.shadow = None


def _rollout(name: NameState, record: LedgerRecord) -> None:
    """Open a rollout from what is live to a sealed release, unless the name is moving already."""
    rollout = Rollout.from_record(record)
    live = name.live.get(PRODUCTION)
    is_sealed = (rollout.version, rollout.digest) in name.all_seals
    is_live = live is not None and _baseline(rollout) == (live.version, live.digest)
    if not (is_sealed and is_live) or name.intent is not None or name.rollout is not None:
        raise InvalidData(f"Record {record.serial} opens a rollout that could not begin then.")
    name.rollout = rollout
    name.rollouts += 1


def _step(name: NameState, record: LedgerRecord) -> None:
    rollout, share = _of_rollout(name, record), record.evidence.get("share")
    if rollout is not None and share in rollout.steps and rollout.share < share < 1:
        name.rollout = replace(rollout, share=float(share), step_since=record.time)


def _hold(name: NameState, record: LedgerRecord) -> None:
    rollout = _of_rollout(name, record)
    if rollout is not None:
        name.rollout = replace(rollout, held=True, held_why=f"{record.who} at {record.time}: {record.why}")


def _resume(name: NameState, record: LedgerRecord) -> None:
    rollout = _of_rollout(name, record)
    if rollout is not None:
        name.rollout = replace(rollout, held=False, held_why="", step_since=record.time)


def _end_rollout(name: NameState, record: LedgerRecord) -> None:
    if _of_rollout(name, record) is not None:
        name.rollout = None


def _of_rollout(name: NameState, record: LedgerRecord) -> Rollout | None:
    """The rollout under way, if this record is about it."""
    return name.rollout if name.rollout is not None and name.rollout.id == record.intent else None


def _baseline(rollout: Rollout) -> tuple[int, str]:
    return rollout.baseline_version, rollout.baseline_digest


def _answers(name: NameState, record: LedgerRecord) -> bool:
    """Whether this outcome answers the open intent, which it then closes."""
    if name.intent is None or name.intent.serial != record.intent:
        return False
    name.intent = None
    return True


def _stand(name: NameState, record: LedgerRecord) -> None:
    alias = record.alias or ""
    live = LiveVersion(
        _version(record), record.digest or "", record.time, record.who, record.why, record.type, record.serial
    )
    name.violations.pop(alias, None)
    name.stalled.pop((alias, live.version), None)
    before = name.live.get(alias)
    name.live[alias] = live
    if alias != PRODUCTION:
        return
    if name.rollout is not None and _baseline(name.rollout) != (live.version, live.digest):
        name.rollout = None  # it was finished, or has nothing to be compared with any more
    name.rolled_back = {at: each for at, each in name.rolled_back.items() if not _is_same(each, live)}
    name.was = before if before is not None and before.version != live.version else name.was
    if name.production and name.production[-1].version == live.version:
        name.production[-1] = live
    else:
        name.production.append(live)


def _is_same(rolled_back: RolledBack, live: LiveVersion) -> bool:
    """Whether this version, or another one with the same content, is live now."""
    return rolled_back.version == live.version or rolled_back.digest == live.digest


def _version(record: LedgerRecord) -> int:
    return record.version or 0


_APPLY = {
    "seal": _seal,
    "refusal": _refusal,
    "approval": _approval,
    "intent": _intent,
    "flip": _flip,
    "rollback": _rollback,
    "aborted": _aborted,
    "observed_flip": _observed_flip,
    "observed_violation": _observed_violation,
    "reconciled": _reconciled,
    "retraction": _retraction,
    "replay": _replayed,
    "shadow": _shadow,
    "shadow_stop": _shadow_stop,
    "rollout": _rollout,
    "step": _step,
    "hold": _hold,
    "resume": _resume,
    "abort": _end_rollout,
    "finish": _end_rollout,
}
KNOWN_TYPES = frozenset(_APPLY)
"""The types of record that say something."""
