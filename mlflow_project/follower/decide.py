"""Decides what this host serves.

In: the ledger's state, the aliases in MLflow, the digests of the versions that they name, and what was live before.
Out: the next snapshot, and the judgement of each alias. A release stays live until a verified one takes its place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, NamedTuple

from mlflow_project.adapters.registry import Registry, RegistryEntry
from mlflow_project.domain.refusal import Cause, cause_of
from mlflow_project.domain.rollout import CANARY
from mlflow_project.domain.times import utc_now
from mlflow_project.errors import Unavailable, WorkspaceError
from mlflow_project.follower.alias_reader import Entries
from mlflow_project.follower.contents import Contents
from mlflow_project.follower.sealed import Fetcher
from mlflow_project.ledger import NameState, Seal, State
from mlflow_project.ledger.observe import Judgement, judge
from mlflow_project.snapshot.content import Placed, PlacedShadow, RefusedRelease, Snapshot, Split

logger = logging.getLogger(__name__)

NOT_FOLLOWED = frozenset({"Candidate"})
"""Aliases that mark a version and serve nobody."""


SHADOW = "Shadow"
"""The alias of a shadow on a host's disk. MLflow has no such alias."""


class Judged(NamedTuple):
    """One alias: what the ledger says about its name, which version it names in MLflow, and the decision."""

    known: NameState
    alias: str
    pointed: int | None
    judgement: Judgement


class Decider:
    """Decides about all aliases. Keeps the digests of versions between two looks of the follower."""

    def __init__(self, registry: Registry, fetcher: Fetcher) -> None:
        self._contents = Contents(registry)
        self._fetcher = fetcher
        self._pointed: dict[tuple[str, str], int] = {}

    def decide(
        self, state: State, entries: Entries, current: Snapshot, *, ledger_is_current: bool
    ) -> tuple[Snapshot, list[Judged]]:
        """The next snapshot, and the judgements that led to it. What is live under names without an entry stays.

        Args:
            ledger_is_current: whether the state was read in this look.

        Raises:
            Unavailable: MLflow does not tell the content of a version.
        """
        self._refresh_contents(entries)
        before = {placed.key: placed for placed in current.live}
        live = [placed for key, placed in before.items() if key[0] not in entries]
        refused: list[RefusedRelease] = []
        judged: list[Judged] = []
        for name, entry in entries.items():
            known, aliases = state.of(name), _aliases(entry)
            live_before = {alias for of, alias in before if of == name}
            canary = {CANARY} if known.rollout is not None else set()
            for alias in sorted({*aliases, *known.live, *live_before, *canary} - NOT_FOLLOWED):
                pointed = aliases.get(alias)
                judgement = self._judge(known, alias, pointed, ledger_is_current=ledger_is_current)
                placed, error = self._place(name, alias, judgement.serve, before.get((name, alias)))
                judgement = _refuse_unfetched(judgement, error)
                judged.append(Judged(known, alias, pointed, judgement))
                live += [placed] if placed is not None else []
                refused += _refusals(judged[-1], placed, error)
        warm, shadows = self._releases_to_warm(state), self._shadows(state)
        return Snapshot(tuple(live), warm, tuple(refused), shadows, _splits(state)), judged

    def _refresh_contents(self, entries: Entries) -> None:
        """Ask for the content of the versions that aliases name; at once where an alias has moved."""
        pointed = {
            (name, alias): version
            for name, entry in entries.items()
            for alias, version in _aliases(entry).items()
            if alias not in NOT_FOLLOWED
        }
        moved = {(key[0], version) for key, version in pointed.items() if self._pointed.get(key) != version}
        self._contents.refresh({(key[0], version) for key, version in pointed.items()}, moved)
        self._pointed = pointed

    def _judge(self, known: NameState, alias: str, pointed: int | None, *, ledger_is_current: bool) -> Judgement:
        """Judge one alias. A move by hand is followed only on a ledger that was read in this look: an older state may
        miss the flip that was undone, or that the name has been protected since.
        """
        content = self._contents.digest(known.name, pointed) if pointed is not None else None
        judgement = judge(known, alias, pointed, content)
        if judgement.record == "observed_flip" and not ledger_is_current:
            label = f"{known.name}/{pointed}"
            why = f"{alias} was moved to {label} by hand. The server follows it when the ledger can be read again."
            return Judgement(None, why, cause="ledger_unread")
        return judgement

    def _place(
        self, name: str, alias: str, seal: Seal | None, before: Placed | None
    ) -> tuple[Placed | None, WorkspaceError | None]:
        """The release to serve under one alias. If the sealed one cannot be fetched, the one that was live before,
        with the error. `Canary` has only the release of the rollout under way, or none.
        """
        if alias == CANARY and (seal is None or (before is not None and before.digest != seal.digest)):
            before = None
        if seal is None or (before is not None and (before.version, before.digest) == (seal.version, seal.digest)):
            return before, None
        try:
            return replace(self._fetcher.fetch(name, seal, alias), since=utc_now()), None
        except WorkspaceError as error:
            return before, error

    def _releases_to_warm(self, state: State) -> tuple[Placed, ...]:
        """The releases that flips under way are about to make live."""
        found = []
        for known in state.names.values():
            intent = known.intent
            seal = known.seals.get(intent.version or 0) if intent is not None else None
            if intent is None or intent.alias is None or seal is None:
                continue
            try:
                found.append(self._fetcher.fetch(known.name, seal, intent.alias))
            except WorkspaceError as error:
                logger.warning("a release cannot be fetched to warm it", extra={"error": str(error)})
        return tuple(found)

    def _shadows(self, state: State) -> tuple[PlacedShadow, ...]:
        """The releases that get copies of requests."""
        found = []
        for known in state.names.values():
            shadow = known.shadow
            seal = known.all_seals.get((shadow.version, shadow.digest)) if shadow is not None else None
            if shadow is None or seal is None:
                continue
            try:
                found.append(PlacedShadow(shadow.id, shadow.limits, self._fetcher.fetch(known.name, seal, SHADOW)))
            except WorkspaceError as error:
                logger.warning("a shadow cannot be fetched", extra={"error": str(error)})
        return tuple(found)


def follow_rollouts(current: Snapshot, state: State) -> Snapshot:
    """The present snapshot with the shares that the ledger has, and without canaries whose rollout has ended. So an
    abort holds even while MLflow does not answer.
    """
    splits = _splits(state)
    canaries = {(split.name, split.version, split.digest) for split in splits}
    live = [each for each in current.live if each.alias != CANARY or (each.name, each.version, each.digest) in canaries]
    return replace(current, live=tuple(live), splits=splits)


def _splits(state: State) -> tuple[Split, ...]:
    return tuple(Split.of(known.rollout) for known in state.names.values() if known.rollout is not None)


def _aliases(entry: RegistryEntry | None) -> dict[str, int]:
    return dict(entry.aliases) if entry is not None else {}


def _refuse_unfetched(judgement: Judgement, error: WorkspaceError | None) -> Judgement:
    """Do not follow a move by hand to a release that could not be fetched. It is recorded as a violation if its seal,
    manifest or index is broken, and tried again later if the store is away.
    """
    if error is None or judgement.record != "observed_flip":
        return judgement
    record: Literal["observed_violation"] | None = None if isinstance(error, Unavailable) else "observed_violation"
    return Judgement(None, str(error), record, cause_of(error, "not_fetched"))


def _refusals(judged: Judged, placed: Placed | None, error: WorkspaceError | None) -> Iterable[RefusedRelease]:
    """At most one refusal of an alias: by its judgement, or else because its release could not be fetched."""
    why, cause = judged.judgement.refused, judged.judgement.cause
    if not why and error is not None:
        why, cause = str(error), cause_of(error, "not_fetched")
    if why:
        yield _refusal(judged, placed, why, cause)


def _refusal(judged: Judged, placed: Placed | None, why: str, cause: Cause) -> RefusedRelease:
    known = judged.known
    version = judged.pointed or (placed.version if placed is not None else 0)
    seal = known.seals.get(version)
    digest = seal.digest if seal is not None else None
    return RefusedRelease(known.kind, known.name, judged.alias, version, digest, why, cause)
