"""Ends flips that a crash left open: finishes or undoes every flip whose writer is gone.

In: the ledger's open intents. Out: what was done about each one. An intent whose writer may still be at work is left
alone. A crash in the middle of a rollout may also leave the alias `Canary` behind; it is put right. Nothing else needs
repair: a manifest without a seal has no effect, and `reconcile` handles moved aliases.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.rollout import CANARY
from mlflow_project.errors import PromotionConflict
from mlflow_project.parts import Parts
from mlflow_project.promotion.flip import settle
from mlflow_project.promotion.reconcile import reconcile_canary


@dataclass(frozen=True)
class Repaired:
    """One open intent and its outcome: `finished`, `undone` or `under way`.

    For an alias `Canary` that was put right, `intent` is 0 and the outcome is `set` or `removed`.
    """

    name: str
    alias: str
    version: int
    intent: int
    outcome: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def repair(parts: Parts, who: str) -> list[Repaired]:
    """Settle every open intent, and put every `Canary` right. Empty if there is nothing to do."""
    done = []
    for state in parts.ledger.state().names.values():
        intent = state.intent
        if intent is None:
            continue
        try:
            record = settle(parts, state, who)
        except PromotionConflict:
            record = None
        done.append(Repaired(state.name, intent.alias or "", intent.version or 0, intent.serial, _outcome(record)))
    return done + _repair_canaries(parts)


def _repair_canaries(parts: Parts) -> list[Repaired]:
    rolled_out = {name: state for name, state in parts.ledger.state().names.items() if state.rollouts}
    found = []
    for name, entry in parts.registry.entries(list(rolled_out)).items():
        pointed = entry.aliases.get(CANARY) if entry is not None else None
        for each in reconcile_canary(parts, rolled_out[name], pointed):
            found.append(Repaired(name, CANARY, each.now or each.found or 0, 0, "set" if each.now else "removed"))
    return found


def _outcome(record: LedgerRecord | None) -> str:
    if record is None:
        return "under way"
    return "undone" if record.type == "aborted" else "finished"
