"""What the records say, replayed: per name what is live, what was before, what is sealed, which flip is under way.
Pure.

In: records in serial order. Out: a `State`. A flip that answers no open intent is void: its promoter stalled, somebody
else has ended its intent, and what it wrote late counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_project.domain.record import GENESIS, LedgerRecord

PRODUCTION = "Production"
SERVED_ALIASES = (PRODUCTION, "Staging")
STALLED = "stalled"
"""What the evidence of an undone intent says of its writer, unless it is known to be dead."""


@dataclass(frozen=True)
class Standing:
    """A release that stands, or stood, under an alias. `how` is the type of the record that put it there."""

    version: int
    digest: str
    since: str
    who: str
    why: str
    how: str
    serial: int


@dataclass(frozen=True)
class Seal:
    """A seal as the ledger recorded it. `recorded` is that time: the key must have been valid then."""

    version: int
    digest: str
    envelope: Mapping[str, Any]
    recorded: str
    serial: int
    protected: bool


@dataclass
class NameState:
    """One name. `seals` holds each version's newest seal; `production` what was live there and was not rolled back
    from, oldest first; `was` what Production was before; `violations` the unfollowed target of an alias, None:
    deleted; `stalled` the intents, by alias and version, that were undone while their writers may still have lived."""

    kind: str
    name: str
    seals: dict[int, Seal] = field(default_factory=dict)
    all_seals: dict[tuple[int, str], Seal] = field(default_factory=dict)
    refusals: dict[int, LedgerRecord] = field(default_factory=dict)
    approvals: list[LedgerRecord] = field(default_factory=list)
    live: dict[str, Standing] = field(default_factory=dict)
    production: list[Standing] = field(default_factory=list)
    rolled_back: set[int] = field(default_factory=set)
    intent: LedgerRecord | None = None
    violations: dict[str, int | None] = field(default_factory=dict)
    stalled: dict[tuple[str, int], int] = field(default_factory=dict)
    was: Standing | None = None

    @property
    def protected(self) -> bool:
        """Whether the newest seal's policy says that this name follows the ledger alone."""
        newest = max(self.seals.values(), key=lambda seal: seal.serial, default=None)
        return newest is not None and newest.protected

    def seal_of(self, standing: Standing | None) -> Seal | None:
        """The seal of exactly what stands there, even where the version was sealed anew with other content."""
        return None if standing is None else self.all_seals.get((standing.version, standing.digest))

    def rollback_target(self) -> Standing | None:
        """What was live before, never what was rolled back from; None when there is nothing to go back to."""
        live = self.live.get(PRODUCTION)
        for standing in reversed(self.production):
            if standing.version not in self.rolled_back and (live is None or standing.version != live.version):
                return standing
        return None

    def approved_by(self, version: int, digest: str) -> list[str]:
        """Who approved exactly this content of this version."""
        return [record.who for record in self.approvals if (record.version, record.digest) == (version, digest)]


@dataclass
class State:
    """All names after record `serial`, whose digest is `head`. `strange` are the records that say nothing to this
    version of Switchyard: of a type that it does not know, or no records at all."""

    serial: int = 0
    head: str = GENESIS
    time: str = ""
    names: dict[str, NameState] = field(default_factory=dict)
    strange: list[LedgerRecord] = field(default_factory=list)

    def of(self, name: str, kind: str = "prompt") -> NameState:
        """A name's state; an empty one where the ledger does not know the name."""
        return self.names.get(name) or NameState(kind, name)


def replay(records: Iterable[LedgerRecord]) -> State:
    """The state after these records, in this order."""
    state = State()
    for record in records:
        state.serial, state.time = record.serial, record.time
        if record.type not in _APPLY:
            state.strange.append(record)
            continue
        name = state.names.setdefault(record.name, NameState(record.kind, record.name))
        _APPLY[record.type](name, record)
    return state


def _seal(name: NameState, record: LedgerRecord) -> None:
    evidence = record.evidence
    seal = Seal(
        version=_version(record),
        digest=record.digest or "",
        envelope=evidence.get("envelope", {}),
        recorded=record.time,
        serial=record.serial,
        protected=bool(evidence.get("protected", False)),
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
        name.rolled_back.discard(_version(record))


def _rollback(name: NameState, record: LedgerRecord) -> None:
    if not _answers(name, record):
        return
    if record.alias == PRODUCTION and any(item.version == record.version for item in name.production):
        while name.production[-1].version != record.version:
            name.rolled_back.add(name.production.pop().version)
    _stand(name, record)


def _aborted(name: NameState, record: LedgerRecord) -> None:
    if _answers(name, record) and record.evidence.get("writer") == STALLED:
        name.stalled[record.alias or "", _version(record)] = record.intent or 0


def _observed_flip(name: NameState, record: LedgerRecord) -> None:
    _stand(name, record)
    name.rolled_back.discard(_version(record))


def _observed_violation(name: NameState, record: LedgerRecord) -> None:
    name.violations[record.alias or ""] = record.version


def _reconciled(name: NameState, record: LedgerRecord) -> None:
    name.violations.pop(record.alias or "", None)


def _answers(name: NameState, record: LedgerRecord) -> bool:
    """Whether this outcome answers the open intent, which it then closes."""
    if name.intent is None or name.intent.serial != record.intent:
        return False
    name.intent = None
    return True


def _stand(name: NameState, record: LedgerRecord) -> None:
    alias = record.alias or ""
    standing = Standing(
        _version(record), record.digest or "", record.time, record.who, record.why, record.type, record.serial
    )
    name.violations.pop(alias, None)
    name.stalled.pop((alias, standing.version), None)
    before = name.live.get(alias)
    name.live[alias] = standing
    if alias != PRODUCTION:
        return
    name.was = before if before is not None and before.version != standing.version else name.was
    if name.production and name.production[-1].version == standing.version:
        name.production[-1] = standing
    else:
        name.production.append(standing)


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
}
KNOWN_TYPES = frozenset(_APPLY)
"""The types of record that say something."""
