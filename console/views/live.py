"""What is live: for each prompt and model its aliases, what it can be rolled back to, its rollout, what was refused.

In: the ledger, the hosts' presence, the guard's words. Out: a `LiveView`. MLflow is not asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.guard.words import lines as guard_lines
from mlflow_project.guard.words import present_words
from mlflow_project.ledger import NameState
from mlflow_project.ledger.state import PRODUCTION
from mlflow_project.parts import Parts
from mlflow_project.promotion.going_back import nothing_to_go_back_to
from mlflow_project.promotion.hosts import Host, read_hosts
from mlflow_project.promotion.views import LiveRow, live
from mlflow_project.rollouts.report import status_lines
from mlflow_project.rollouts.status import status

PER_PAGE = 50
_MOST_REFUSALS = 5


@dataclass(frozen=True)
class NameLive:
    """One prompt or model.

    Attributes:
        rows: what is live, by alias.
        expected: the record that made live what a rollback takes back; None: nothing is live in Production.
        back: the version that a rollback goes to; None: there is none, and `no_way_back` says why.
        moving: the flip that is under way.
        rollout: how the rollout under way stands, in lines; empty: there is none. `held`: it is held.
        guard: what the guard says, in lines. `evidence`: the indicators that it judges by.
        refused: the newest refusals of the gate. `violations`: aliases that were moved by hand.
    """

    kind: str
    name: str
    rows: tuple[LiveRow, ...]
    expected: int | None
    back: int | None
    no_way_back: str
    moving: LedgerRecord | None
    rollout: tuple[str, ...]
    held: bool
    guard: tuple[str, ...]
    evidence: tuple[dict[str, Any], ...]
    refused: tuple[LedgerRecord, ...]
    violations: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True)
class LiveView:
    """Every name, and the hosts. `head` is the newest record of the ledger."""

    names: tuple[NameLive, ...]
    hosts: tuple[Host, ...]
    head: int

    def page(self, number: int, search: str) -> Sequence[NameLive]:
        """The names of a page, of those that contain the text."""
        return self.matching(search)[PER_PAGE * (number - 1) : PER_PAGE * number]

    def matching(self, search: str) -> Sequence[NameLive]:
        """The names that contain the text."""
        return [each for each in self.names if search.lower() in each.name.lower()]


def live_view(parts: Parts) -> LiveView:
    """Read all of it.

    Raises:
        Unavailable: the store does not answer.
    """
    rows: dict[str, list[LiveRow]] = {}
    for row in live(parts):
        rows.setdefault(row.name, []).append(row)
    words, state = present_words(parts), parts.ledger.state()
    names = [
        name_live(parts, each, rows.get(each.name, []), words.get(each.name))
        for each in state.names.values()
        if each.name in rows or each.intent is not None or each.refusals or each.violations
    ]
    names.sort(key=lambda each: each.name)
    return LiveView(tuple(names), tuple(read_hosts(parts.store)), state.serial)


def name_live(parts: Parts, of: NameState, rows: Sequence[LiveRow], word: dict[str, Any] | None) -> NameLive:
    """One name."""
    production, target = of.live.get(PRODUCTION), of.rollback_target()
    said = tuple(guard_lines(word)) if word is not None else ()
    refusals = sorted(of.refusals.values(), key=lambda record: -record.serial)
    return NameLive(
        kind=of.kind,
        name=of.name,
        rows=tuple(rows),
        expected=production.serial if production is not None else None,
        back=target.version if target is not None else None,
        no_way_back="" if target is not None else nothing_to_go_back_to(of),
        moving=of.intent,
        rollout=tuple(status_lines(status(parts, of.name))) if of.rollout is not None else (),
        held=of.rollout is not None and of.rollout.held,
        guard=said,
        evidence=tuple((word or {}).get("indicators", ())),
        refused=tuple(refusals[:_MOST_REFUSALS]),
        violations=tuple(of.violations.items()),
    )
