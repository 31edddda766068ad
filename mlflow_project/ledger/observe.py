"""Compares an alias in MLflow with the ledger: which release to serve, what to refuse, what to record.

`judge` is pure. Read the ledger before the alias: a flip in between then shows as a newer record, and
`record_observed`, which appends only as the next record, records nothing. A protected name follows the ledger. Any
other name follows the last write to its alias, if that version is sealed and unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlflow_project.adapters.registry import Registry
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.refusal import Cause
from mlflow_project.domain.rollout import CANARY
from mlflow_project.errors import PromotionConflict
from mlflow_project.ledger.chain import Draft
from mlflow_project.ledger.ledger import Ledger
from mlflow_project.ledger.state import PRODUCTION, SERVED_ALIASES, NameState, Seal

PREVIOUS = "Previous"


@dataclass(frozen=True)
class Judgement:
    """The decision about one alias.

    Attributes:
        serve: the sealed release to serve under the alias; None: nothing.
        refused: why the alias is not followed, or what is wrong with the release that is live; None: nothing is.
        record: the type of the record to append, once; None: nothing is to be recorded.
        cause: the kind of the refusal.
    """

    serve: Seal | None
    refused: str | None = None
    record: Literal["observed_flip", "observed_violation"] | None = None
    cause: Cause = "unknown"


def judge(state: NameState, alias: str, pointed: int | None, content: str | None) -> Judgement:
    """Decide about one alias.

    Args:
        pointed: the version that the alias names in MLflow; None: the alias is gone.
        content: the digest of that version's content in MLflow; None: it was deleted, or cannot be read.
    """
    if alias == CANARY:
        return _judge_canary(state, pointed, content)
    live = state.live.get(alias)
    stay = state.seal_of(live)
    if pointed is None:
        gone = f"The alias {alias} of {state.name} is gone from MLflow" + (
            f"; {state.name}/{live.version} stays live. `switchyard reconcile {state.name}` puts it back."
            if live
            else "."
        )
        return _refuse(alias, stay, "alias_gone", gone if live else None)
    if live is not None and live.version == pointed:
        if content == live.digest:
            return Judgement(stay)
        return Judgement(stay, _changed(state, pointed, content), cause="broken_seal")
    return _moved(state, alias, pointed, content, stay)


def _judge_canary(state: NameState, pointed: int | None, content: str | None) -> Judgement:
    """`Canary` follows the rollout in the ledger, wherever a hand has moved it in MLflow."""
    rollout = state.rollout
    if rollout is None:
        why = (
            f"{CANARY} of {state.name} points at version {pointed} in MLflow, but no rollout of {state.name} is under "
        )
        why += f"way, so it serves nobody: `switchyard rollout start {state.name} --version {pointed}` opens one."
        return Judgement(None, None if pointed is None else why, cause="moved_by_hand")
    seal = state.all_seals.get((rollout.version, rollout.digest))
    if pointed == rollout.version and content != rollout.digest:
        return Judgement(seal, _changed(state, pointed, content), cause="broken_seal")
    if pointed not in (None, rollout.version):
        why = (
            f"{CANARY} of {state.name} was moved to version {pointed} by hand. The rollout of {rollout.label} goes on."
        )
        return Judgement(seal, f"{why} `switchyard reconcile {state.name}` puts it back.", cause="moved_by_hand")
    return Judgement(seal)


def _moved(state: NameState, alias: str, pointed: int, content: str | None, stay: Seal | None) -> Judgement:
    """Decide about an alias that differs from the ledger: a flip is under way, or somebody has moved it by hand."""
    seal = state.seals.get(pointed)
    label = f"{state.name}/{pointed}"
    if seal is None:
        refusal = state.refusals.get(pointed)
        why = " The gate refused it." if refusal else ""
        why = f"{label} has no seal.{why} Run `switchyard gate {state.name} --version {pointed}`."
        return _refuse(alias, stay, "unsealed", why)
    if content != seal.digest:
        return _refuse(alias, stay, "broken_seal", _changed(state, pointed, content))
    if state.intent is not None and state.intent.alias == alias:
        return Judgement(seal if state.intent.version == pointed else stay)
    if (intent := state.stalled.get((alias, pointed))) is not None:
        why = f"{label} was to become live by a flip that was undone (record {intent}); its promoter wrote late."
        why = f"{why} `switchyard reconcile {state.name}` puts {alias} back; or promote the version again."
        return _refuse(alias, stay, "undone_flip", why)
    if state.rollout is not None and alias == PRODUCTION:
        why = (
            f"{PRODUCTION} was moved to {label} by hand, but {state.rollout.describe()}. Until that ends, {PRODUCTION}"
        )
        why = f"{why} moves only with the rollout. `switchyard reconcile {state.name}` puts it back."
        return _refuse(alias, stay, "moved_by_hand", why)
    if (taken := state.retracted.get(seal.digest)) is not None and alias in SERVED_ALIASES:
        why = f"{alias} was moved to {label} by hand, and {label} rests on text that {taken.describe()}."
        return _refuse(alias, stay, "moved_by_hand", f"{why} `switchyard reconcile {state.name}` puts it back.")
    if state.protected and alias in SERVED_ALIASES:
        why = f"{state.name} is protected and follows the ledger: {alias} was moved to {label} by hand."
        return _refuse(alias, stay, "moved_by_hand", f"{why} `switchyard reconcile {state.name}` puts it back.")
    return Judgement(seal, None, "observed_flip" if alias in SERVED_ALIASES else None)


def record_observed(
    ledger: Ledger,
    registry: Registry,
    serial: int,
    state: NameState,
    alias: str,
    pointed: int | None,
    judgement: Judgement,
    who: str,
) -> LedgerRecord | None:
    """Append the record that a judgement asks for, as the record after `serial`.

    Returns None if nothing is to be recorded, the same is recorded already, or the ledger has a newer record: judge
    again then. Of several hosts that see the same, one records it. When a move of Production is followed, `Previous` is
    set too.

    Args:
        serial: the newest record of the state that the judgement was made on.
    """
    if judgement.record is None or _known(state, alias, pointed, judgement):
        return None
    before = state.live.get(alias)
    draft = Draft(
        judgement.record,
        state.kind,
        state.name,
        who,
        judgement.refused or "the alias was moved in MLflow",
        version=pointed,
        digest=judgement.serve.digest if judgement.record == "observed_flip" and judgement.serve else None,
        alias=alias,
        from_version=before.version if before else None,
    )
    try:
        record = ledger.append_at(serial + 1, draft)
    except PromotionConflict:
        return None
    if record.type == "observed_flip" and alias == PRODUCTION and before is not None:
        registry.point(state.name, PREVIOUS, before.version)
    return record


def _known(state: NameState, alias: str, pointed: int | None, judgement: Judgement) -> bool:
    return judgement.record == "observed_violation" and state.violations.get(alias, 0) == pointed


def _refuse(alias: str, stay: Seal | None, cause: Cause, why: str | None) -> Judgement:
    return Judgement(stay, why, "observed_violation" if why and alias in SERVED_ALIASES else None, cause)


def _changed(state: NameState, version: int, content: str | None) -> str:
    now = f"it is now {content}" if content else "it was deleted, or cannot be read any more"
    return f"The content of {state.name}/{version} in MLflow is not what was sealed: {now}."
