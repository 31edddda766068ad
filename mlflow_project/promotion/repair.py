"""Ends flips that a crash left open: finishes or undoes every flip whose writer is gone.

In: the ledger's open intents. Out: what was done about each one. An intent whose writer may still be at work is left
alone. Nothing else needs repair: a manifest without a seal has no effect, and `reconcile` handles moved aliases.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.errors import PromotionConflict
from mlflow_project.parts import Parts
from mlflow_project.promotion.flip import settle


@dataclass(frozen=True)
class Repaired:
    """One open intent and its outcome: `finished`, `undone` or `under way`."""

    name: str
    alias: str
    version: int
    intent: int
    outcome: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def repair(parts: Parts, who: str) -> list[Repaired]:
    """Settle every open intent; empty when there is none."""
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
    return done


def _outcome(record: LedgerRecord | None) -> str:
    if record is None:
        return "under way"
    return "undone" if record.type == "aborted" else "finished"
