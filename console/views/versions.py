"""What exists: every name, the versions of one, one version with its evidence and what a promotion of it would change,
and what differs between two. In: registry, ledger and object store. Out: what the pages show.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_project.adapters.releases import read_manifest
from mlflow_project.domain.rollout import percent
from mlflow_project.errors import SealBroken
from mlflow_project.ledger import NameState
from mlflow_project.ledger.state import PRODUCTION
from mlflow_project.parts import Parts
from mlflow_project.promotion.approve import diff
from mlflow_project.promotion.hosts import presences
from mlflow_project.promotion.inventory import Version, every_version, one_version
from mlflow_project.promotion.receipts import live_workers
from mlflow_project.promotion.sealed import checked_statement
from mlflow_project.rules.content import differences

PER_PAGE = 50
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_LONGEST_BY_WORD = 20_000
"""Characters; longer texts are compared by line, which takes less time."""


@dataclass(frozen=True)
class Name:
    """A name in the registry, and the version of it that is live in Production."""

    kind: str
    name: str
    live: int | None


@dataclass(frozen=True)
class VersionView:
    """One version.

    Attributes:
        found: what `inventory.one_version` says.
        verdict: the gate's, as the seal or the refusal holds it; None: the gate was not asked yet.
        evidence: which runs, cases and champion the verdict rests on.
        live: the version in Production now.
        protected: whether somebody else has to approve it before a promotion.
        changes: what differs from the sealed content in Production: (field, there, here).
        effects: sentences about what a promotion would change for callers.
        rolled_back: why it was rolled back; None: it was not.
    """

    found: Mapping[str, Any]
    verdict: Mapping[str, Any] | None
    evidence: Mapping[str, Any]
    live: int | None
    protected: bool
    changes: Sequence[tuple[str, Any, Any]]
    effects: Sequence[str]
    rolled_back: str | None

    @property
    def intervals(self) -> list[Mapping[str, Any]]:
        """The checks with an interval of the paired difference, for the plot."""
        checks = self.verdict.get("checks", ()) if self.verdict is not None else ()
        return [check for check in checks if "lower" in check and "upper" in check]


@dataclass(frozen=True)
class Change:
    """A field that differs. `pieces` are (`same`, `added` or `removed`, text) where both sides are texts."""

    field: str
    before: Any
    after: Any
    pieces: Sequence[tuple[str, str]]


def every_name(parts: Parts) -> list[Name]:
    """Every prompt and model of the registry, by name.

    Raises:
        Unavailable: MLflow or the store does not answer.
    """
    state = parts.ledger.state()
    live = {name: of.live.get(PRODUCTION) for name, of in state.names.items()}
    found = sorted(parts.registry.names(), key=lambda pair: pair[1])
    return [Name(kind, name, standing.version if (standing := live.get(name)) else None) for kind, name in found]


def versions_of(parts: Parts, name: str) -> list[Version]:
    """The versions of a name, newest first.

    Raises:
        NotFound: there is no such name. Unavailable: MLflow or the store does not answer.
    """
    return every_version(parts, name)[::-1]


def version_view(parts: Parts, name: str, number: int) -> VersionView:
    """One version.

    Raises:
        NotFound: there is no such version. Unavailable: MLflow or the store does not answer.
    """
    found, state = one_version(parts, name, number), parts.ledger.state().of(name)
    predicate, live = predicate_of(parts, state, number), state.live.get(PRODUCTION)
    before = state.rolled_back.get(number)
    return VersionView(
        found=found,
        verdict=predicate.get("verdict"),
        evidence={key: predicate.get(key) for key in ("runs", "cases", "champion")},
        live=live.version if live is not None else None,
        protected=state.protected,
        changes=_changes(parts, state, number),
        effects=_effects(parts, state, number),
        rolled_back=f"{before.who} at {before.time}: {before.reason or 'no reason given'}" if before else None,
    )


def changes_between(parts: Parts, name: str, before: int, after: int) -> list[Change]:
    """What differs between two versions as MLflow holds them now; texts by word.

    Raises:
        NotFound: there is no such version. Unavailable: MLflow does not answer.
    """
    return [
        Change(field, old, new, by_word(old, new) if isinstance(old, str) and isinstance(new, str) else ())
        for field, old, new in diff(parts, name, before, after)
    ]


def by_word(before: str, after: str) -> list[tuple[str, str]]:
    """Two texts as pieces that both have, that were removed, and that were added; by line where they are long."""
    long = max(len(before), len(after)) > _LONGEST_BY_WORD
    left, right = (text.splitlines(keepends=True) if long else _WORDS.findall(text) for text in (before, after))
    pieces: list[tuple[str, str]] = []
    for what, i, j, k, end in difflib.SequenceMatcher(None, left, right, autojunk=long).get_opcodes():
        if what == "equal":
            pieces.append(("same", "".join(left[i:j])))
            continue
        pieces += [("removed", "".join(left[i:j]))] if j > i else []
        pieces += [("added", "".join(right[k:end]))] if end > k else []
    return pieces


def predicate_of(parts: Parts, state: NameState, number: int) -> Mapping[str, Any]:
    """What the gate's last word on a version states: from the refusal, or from the seal once that is found right."""
    if (refusal := state.refusals.get(number)) is not None:
        return refusal.evidence
    seal = state.seals.get(number)
    try:
        return checked_statement(parts, state.name, seal).predicate if seal is not None else {}
    except SealBroken:
        return {}


def _changes(parts: Parts, state: NameState, number: int) -> Sequence[tuple[str, Any, Any]]:
    live, seal = state.live.get(PRODUCTION), state.seals.get(number)
    if live is None or seal is None or live.version == number:
        return ()
    return differences(read_manifest(parts.store, live.digest), read_manifest(parts.store, seal.digest))


def _effects(parts: Parts, state: NameState, number: int) -> list[str]:
    live, hosts = state.live.get(PRODUCTION), presences(parts.store)
    workers = live_workers(hosts)
    if live is not None and live.version == number:
        return [f"It is live in {PRODUCTION} now."]
    instead = f"instead of {state.name}/{live.version}" if live is not None else "for the first time"
    said = [
        f"Every request for {PRODUCTION} of {state.name} is answered by {state.name}/{number} {instead}.",
        f"{len(workers)} workers on {len(hosts)} hosts load it first, and confirm that they serve it.",
    ]
    if (rollout := state.rollout) is not None:
        said.append(f"A rollout of {rollout.label} at {percent(rollout.share)} is under way: it has to end first.")
    return said
