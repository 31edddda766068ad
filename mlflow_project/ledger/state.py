"""What the records say: for each name what is live, what was live before, what is sealed, which flip is under way.

`replaying.py` makes a `State` of records. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_project.domain.record import GENESIS, LedgerRecord
from mlflow_project.domain.rollout import Rollout
from mlflow_project.domain.shadow import Shadow

PRODUCTION = "Production"
SERVED_ALIASES = (PRODUCTION, "Staging")


@dataclass(frozen=True)
class LiveVersion:
    """A version that is live under an alias, or was. `how` is the type of the record that made it live."""

    version: int
    digest: str
    since: str
    who: str
    why: str
    how: str
    serial: int


@dataclass(frozen=True)
class RolledBack:
    """A rollback that took a version out of Production. `reason` is empty where nobody gave one."""

    version: int
    digest: str
    to_version: int
    time: str
    who: str
    reason: str
    serial: int


@dataclass(frozen=True)
class Retraction:
    """A release rests on text that somebody took back. `index` is the search index that has the text."""

    version: int
    digest: str
    index: str
    time: str
    who: str
    why: str
    serial: int

    def describe(self) -> str:
        """Who took text back, when and why, for messages."""
        return f'{self.who} retracted at {self.time} (record {self.serial}): "{self.why}"'


@dataclass(frozen=True)
class Seal:
    """A seal as the ledger holds it. The key must have been valid at `recorded`, the time of the record. `guard` is the
    guard's policy for the time after the release became live; None: nothing is watched."""

    version: int
    digest: str
    envelope: Mapping[str, Any]
    recorded: str
    serial: int
    protected: bool
    guard: Mapping[str, Any] | None = None


@dataclass
class NameState:
    """The state of one prompt or model after all records about it.

    Attributes:
        seals: the newest seal of each version.
        all_seals: every seal, by version and digest.
        refusals: versions that the gate refused and has not sealed since.
        live: what is live, by alias.
        production: every release that was live in Production, oldest first; the last one is live now.
        rolled_back: versions that a rollback took out of Production and that were not live again since.
        retracted: releases that rest on text which was taken back since, by their digest.
        intent: the flip that is under way.
        violations: aliases that were moved by hand and not followed, and where they point (None: deleted).
        stalled: undone intents by alias and version, of writers that may still have been alive.
        was: what was live in Production before.
        shadow: the version that gets copies of requests for Production.
        rollout: the rollout that is under way.
        rollouts: how many rollouts were ever opened.
    """

    kind: str
    name: str
    seals: dict[int, Seal] = field(default_factory=dict)
    all_seals: dict[tuple[int, str], Seal] = field(default_factory=dict)
    refusals: dict[int, LedgerRecord] = field(default_factory=dict)
    approvals: list[LedgerRecord] = field(default_factory=list)
    live: dict[str, LiveVersion] = field(default_factory=dict)
    production: list[LiveVersion] = field(default_factory=list)
    rolled_back: dict[int, RolledBack] = field(default_factory=dict)
    retracted: dict[str, Retraction] = field(default_factory=dict)
    intent: LedgerRecord | None = None
    violations: dict[str, int | None] = field(default_factory=dict)
    stalled: dict[tuple[str, int], int] = field(default_factory=dict)
    was: LiveVersion | None = None
    shadow: Shadow | None = None
    rollout: Rollout | None = None
    rollouts: int = 0

    @property
    def protected(self) -> bool:
        """Whether the newest seal's policy says that this name follows the ledger alone."""
        newest = max(self.seals.values(), key=lambda seal: seal.serial, default=None)
        return newest is not None and newest.protected

    def seal_of(self, live: LiveVersion | None) -> Seal | None:
        """The seal of exactly this content, also if the version was sealed again with other content."""
        return None if live is None else self.all_seals.get((live.version, live.digest))

    def rollback_target(self) -> LiveVersion | None:
        """The last other version that was live in Production; None when there is nothing to go back to.

        A version that the gate has refused since, that rests on retracted text, or that was rolled back for a reason,
        is passed over. A version that was rolled back without a reason is taken only when no other is left.
        """
        live = self.live.get(PRODUCTION)
        others = [item for item in reversed(self.production) if live is None or item.version != live.version]
        others = [item for item in others if item.version not in self.refusals and item.digest not in self.retracted]
        kept = [item for item in others if item.version not in self.rolled_back]
        undone = [item for item in others if item.version in self.rolled_back]
        return next(iter(kept), next((item for item in undone if not self.rolled_back[item.version].reason), None))

    def withdrawn(self, digest: str) -> RolledBack | None:
        """The rollback that took this content out of Production for a reason, unless it was live again since."""
        return next((each for each in self.rolled_back.values() if each.digest == digest and each.reason), None)

    def approved_by(self, version: int, digest: str) -> list[str]:
        """Who approved exactly this content of this version."""
        return [record.who for record in self.approvals if (record.version, record.digest) == (version, digest)]


@dataclass
class State:
    """All names after record `serial`, whose digest is `head`.

    Attributes:
        strange: records that are passed over: of an unknown type, not a record at all, with an impossible time, or a
            rollout of what was not sealed or not to be rolled out then.
        ahead: serials of objects that lie beyond the end of the ledger.
    """

    serial: int = 0
    head: str = GENESIS
    time: str = ""
    names: dict[str, NameState] = field(default_factory=dict)
    strange: list[LedgerRecord] = field(default_factory=list)
    ahead: tuple[int, ...] = ()

    def retraction_of_index(self, index: str) -> Retraction | None:
        """The first retraction of a text that this search index has, whatever the name of the release."""
        every = (each for of in self.names.values() for each in of.retracted.values() if each.index == index)
        return min(every, key=lambda each: each.serial, default=None)

    def of(self, name: str, kind: str = "prompt") -> NameState:
        """A name's state; an empty one where the ledger does not know the name."""
        return self.names.get(name) or NameState(kind, name)
