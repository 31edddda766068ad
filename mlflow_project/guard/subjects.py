"""What the guard watches: rollouts under way, and releases that became live a short time ago.

In: the ledger. Out: subjects, each with the policy to judge it by. A release that a rollback or a hand made live is no
subject, so the guard never rolls back twice in a row.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_project.domain.record import LedgerRecord, seconds_of
from mlflow_project.domain.rollout import Rollout
from mlflow_project.errors import InvalidData
from mlflow_project.ledger import Ledger, LiveVersion, NameState
from mlflow_project.ledger.state import PRODUCTION
from mlflow_project.rules.guard.policy import GuardPolicy, guard_policy_from
from mlflow_project.snapshot.arm_counts import ArmKey

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """One thing to watch.

    Attributes:
        id: the ledger's serial of the record that began it.
        new, old: the versions that are compared; `old_digest` is what a rollback would make live.
        until: when the bake time ends, in seconds since the epoch; None for a rollout.
        rollout: the rollout; None: the new release has all traffic and is compared with the old one's past.
        was_live: whether the new version was live before, so that it has older counts.
    """

    id: int
    kind: str
    name: str
    new: int
    old: int
    old_digest: str
    policy: GuardPolicy
    until: float | None = None
    rollout: Rollout | None = None
    was_live: bool = False

    @property
    def since(self) -> float:
        """When this began to be watched, in seconds since the epoch."""
        if self.rollout is not None:
            return seconds_of(self.rollout.opened)
        return (self.until or 0.0) - self.policy.bake_seconds

    @property
    def key(self) -> str:
        """Tells subjects of one name apart."""
        return f"{'rollout' if self.rollout else 'promotion'}:{self.id}"

    @property
    def label(self) -> str:
        """The new release, as in `qa/3`."""
        return f"{self.name}/{self.new}"

    @property
    def new_arm(self) -> ArmKey:
        """Whose requests are judged."""
        if self.rollout is not None:
            return ArmKey(self.name, self.new, "canary", self.rollout.id)
        return ArmKey(self.name, self.new, "production", 0)

    @property
    def old_arm(self) -> ArmKey | None:
        """Whose requests they are compared with at the same time; None: the past."""
        return ArmKey(self.name, self.old, "baseline", self.rollout.id) if self.rollout is not None else None


def subjects(ledger: Ledger, now: float | None = None) -> Iterator[Subject]:
    """All subjects of the present state of the ledger. A policy that cannot be read is logged and passed over.

    Raises:
        Unavailable: the ledger does not answer.
    """
    now = time.time() if now is None else now
    records = ledger.records()
    for of in ledger.state().names.values():
        try:
            found = _rollout(of) if of.rollout is not None else _promotion(of, records, now)
        except InvalidData as error:
            logger.error("a guard's policy cannot be read", extra={"prompt": of.name, "error": str(error)})
            continue
        if found is not None:
            yield found


def _rollout(of: NameState) -> Subject | None:
    """The rollout under way. One without a policy is judged by that of the seal, or by the usual one."""
    rollout = of.rollout
    assert rollout is not None
    seal = of.all_seals.get((rollout.version, rollout.digest))
    given = rollout.guard if rollout.guard is not None else (seal.guard if seal is not None else None)
    return Subject(
        rollout.id,
        rollout.kind,
        rollout.name,
        rollout.version,
        rollout.baseline_version,
        rollout.baseline_digest,
        guard_policy_from({} if given is None else given, rollout.kind),
        rollout=rollout,
    )


def _promotion(of: NameState, records: list[LedgerRecord], now: float) -> Subject | None:
    """The newest promotion, if it is younger than its policy's bake time and there is a release to go back to."""
    live, before = of.live.get(PRODUCTION), of.was
    if live is None or before is None or live.how != "flip" or before.version == live.version:
        return None
    given = _policy_of(of, live, records)
    if given is None:
        return None
    policy = guard_policy_from(given, of.kind)
    until = seconds_of(live.since) + policy.bake_seconds
    if until <= now:
        return None
    was_live = any(item.version == live.version for item in of.production[:-1])
    return Subject(
        live.serial,
        of.kind,
        of.name,
        live.version,
        before.version,
        before.digest,
        policy,
        until=until,
        was_live=was_live,
    )


def _policy_of(of: NameState, live: LiveVersion, records: list[LedgerRecord]) -> Mapping[str, Any] | None:
    """The policy of a promotion: that of the rollout which it finished, or that of its seal. None: nobody watches."""
    flip = records[live.serial - 1]
    intent = records[flip.intent - 1] if flip.intent else None
    finished = intent.evidence.get("rollout") if intent is not None else None
    if type(finished) is int and 1 <= finished <= len(records):
        given = records[finished - 1].evidence.get("guard")
        if isinstance(given, Mapping):
            return given
    seal = of.seal_of(live)
    return seal.guard if seal is not None else None
