"""An alias as MLflow has it, held against the record: what is to be served, what is refused, what is to be recorded.

`judge` is pure. Whoever calls it must read the ledger before the alias: then a flip that happens in between shows as
a newer record, and `record_observed`, which appends only as the next record, loses and records nothing. A protected
name follows the ledger; any other follows the last write of its alias, as long as that version is sealed and
unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlflow_project.adapters.registry import Registry
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.refusal import Cause
from mlflow_project.errors import PromotionConflict
from mlflow_project.ledger.chain import Draft
from mlflow_project.ledger.ledger import Ledger
from mlflow_project.ledger.state import PRODUCTION, SERVED_ALIASES, NameState, Seal

PREVIOUS = "Previous"


@dataclass(frozen=True)
class Judgement:
    """`serve`: the sealed release that belongs under the alias, None: nothing does. `refused`: why what the alias
    asks for is not followed, or, where it is live already, why the alarm sounds; `cause` its kind. `record`: what has
    to be recorded, once."""

    serve: Seal | None
    refused: str | None = None
    record: Literal["observed_flip", "observed_violation"] | None = None
    cause: Cause = "unknown"


def judge(state: NameState, alias: str, pointed: int | None, content: str | None) -> Judgement:
    """Decide about one alias.

    Args:
        pointed: the version that the alias names now; None: the alias is gone.
        content: the digest of that version's present content; None: it cannot be read (deleted, or malformed).
    """
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


def _moved(state: NameState, alias: str, pointed: int, content: str | None, stay: Seal | None) -> Judgement:
    """The alias is not where the record has it: a flip under way, or somebody's hand."""
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
        why = f"{label} was to become live by a flip that was undone (record {intent}), whose promoter wrote late."
        why = f"{why} `switchyard reconcile {state.name}` puts {alias} back, or promote it anew."
        return _refuse(alias, stay, "undone_flip", why)
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
    """Append what a judgement wants recorded, as the record after `serial`, the newest that it was made on.

    Returns None when nothing is to be recorded, it was recorded already, or the ledger has moved: judge again then.
    However many see the same, one record is made. For a followed move of Production, `Previous` is set too.
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
