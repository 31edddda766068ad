"""Puts a name's aliases in MLflow back to where the ledger has them.

In: a name. Out: the corrections, each recorded as `reconciled`. A move by hand that may be followed is recorded as
`observed_flip` instead, and the alias stays.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mlflow_project.adapters.releases import present_digest
from mlflow_project.domain.rollout import CANARY
from mlflow_project.errors import InvalidData, NotFound, SealBroken
from mlflow_project.ledger import Draft, NameState
from mlflow_project.ledger.observe import PREVIOUS, judge, record_observed
from mlflow_project.ledger.state import PRODUCTION, SERVED_ALIASES
from mlflow_project.parts import Parts
from mlflow_project.promotion.canary import point_canary
from mlflow_project.promotion.promote import settled_state
from mlflow_project.promotion.sealed import sealed_release


@dataclass(frozen=True)
class Correction:
    """One alias: where it pointed, and where it points now (None: it is gone). `followed`: it was not put back."""

    name: str
    alias: str
    found: int | None
    now: int | None
    followed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def reconcile(parts: Parts, name: str, who: str) -> list[Correction]:
    """Compare each served alias, `Previous` and `Canary` with the ledger. Returns the corrections; none if all agree.

    Raises:
        PromotionConflict: a flip of this name is under way. NotFound: nobody knows the name.
    """
    serial = settled_state(parts, name, who).serial
    entry = parts.registry.entry(name)
    aliases = dict(entry.aliases) if entry is not None else {}
    done = []
    for alias in SERVED_ALIASES:
        state = parts.ledger.state()
        correction = _reconcile_alias(parts, state.of(name), max(serial, state.serial), alias, aliases.get(alias), who)
        done += [correction] if correction is not None else []
    now = parts.ledger.state().of(name)
    done += _reconcile_previous(parts, now, aliases.get(PREVIOUS))
    return done + reconcile_canary(parts, now, aliases.get(CANARY))


def _reconcile_alias(
    parts: Parts, state: NameState, serial: int, alias: str, pointed: int | None, who: str
) -> Correction | None:
    live = state.live.get(alias)
    wanted = live.version if live is not None else None
    if pointed == wanted:
        return None
    content = present_digest(parts.registry, state.name, pointed) if pointed is not None else None
    judgement = judge(state, alias, pointed, content)
    if judgement.record == "observed_flip" and _holds(parts, state, pointed):
        record_observed(parts.ledger, parts.registry, serial, state, alias, pointed, judgement, who)
        return Correction(state.name, alias, pointed, pointed, followed=True)
    if parts.registry.point(state.name, alias, wanted) != wanted:
        raise NotFound(
            f"{state.name}/{wanted}, which is live according to the ledger, was deleted in MLflow: "
            f"`switchyard rollback {state.name}` goes back to what was live before, or promote another version."
        )
    draft = Draft("reconciled", state.kind, state.name, who, "", wanted, live.digest if live else None, alias, pointed)
    parts.ledger.append(draft)
    return Correction(state.name, alias, pointed, wanted)


def _holds(parts: Parts, state: NameState, version: int | None) -> bool:
    """Whether seal, key and manifest of the version that a hand chose hold."""
    try:
        sealed_release(parts, state, version or 0)
    except (SealBroken, NotFound, InvalidData):
        return False
    return True


def _reconcile_previous(parts: Parts, state: NameState, pointed: int | None) -> list[Correction]:
    wanted = state.was.version if state.was is not None else None
    if pointed == wanted or PRODUCTION not in state.live:
        return []
    now = parts.registry.point(state.name, PREVIOUS, wanted)
    return [Correction(state.name, PREVIOUS, pointed, now)] if now != pointed else []


def reconcile_canary(parts: Parts, state: NameState, pointed: int | None) -> list[Correction]:
    """Put `Canary` back to where the rollout in the ledger has it. At most one correction."""
    if pointed == (state.rollout.version if state.rollout is not None else None):
        return []
    now = point_canary(parts, state)
    return [Correction(state.name, CANARY, pointed, now)] if now != pointed else []
