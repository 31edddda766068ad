"""One look at registry and ledger after another; after each, the snapshot says what this host serves.

In: aliases, seals, open intents, the versions' present content. Out: `snapshot.json` when something changed, and
`contact.json` after every look. What is live stays live until something verified takes its place.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from mlflow_project.adapters.registry import Registry, RegistryEntry
from mlflow_project.errors import NotFound, Refused, WorkspaceError
from mlflow_project.follower.sealed import Fetcher, present_digest
from mlflow_project.follower.vitals import tell_open_flips
from mlflow_project.ledger import Ledger, NameState, Seal, State
from mlflow_project.ledger.observe import Judgement, judge, record_observed
from mlflow_project.snapshot.contact import Contact, read_contact, write_contact
from mlflow_project.snapshot.content import Placed, RefusedRelease, Snapshot
from mlflow_project.snapshot.folder import ServingFolder

logger = logging.getLogger(__name__)

NOT_FOLLOWED = frozenset({"Candidate"})
"""Aliases that mark a version and serve nobody."""
RECHECK_SECONDS = 1.0


@dataclass
class Watcher:
    """Keeps what it knows between looks. `current` is what the snapshot file holds."""

    registry: Registry
    ledger: Ledger
    fetcher: Fetcher
    folder: ServingFolder
    interval_ms: int
    identity: str
    current: Snapshot = field(default_factory=Snapshot)
    _state: State | None = None
    _pointed: dict[tuple[str, str], int | None] = field(default_factory=dict)
    _contents: dict[tuple[str, int], tuple[float, str | None]] = field(default_factory=dict)
    _contact: Contact | None = None

    def start(self) -> None:
        """Take over what an earlier follower left: it is the last known good."""
        self.folder.prepare()
        self._contact = read_contact(self.folder.contact_file)
        for read in (self.folder.read_snapshot, self.folder.read_previous):
            try:
                self.current = read()
                return
            except NotFound:
                continue
            except WorkspaceError as error:
                logger.error("a snapshot on disk is damaged", extra={"error": str(error)})

    def look(self) -> None:
        """Ask, decide, write. Never raises for what it read: refuses, reports, and keeps what is live."""
        try:
            self._state = self.ledger.state()
            tell_open_flips(self._state)
        except WorkspaceError as error:
            logger.warning("the ledger cannot be read on", extra={"error": str(error)})
        try:
            names = self._state.names if self._state is not None else {}
            entries = {name: self.registry.entry(name) for name, known in names.items() if known.seals}
            if not entries:
                self.registry.entry("-")
            self._note_contact(True)
            if self._state is not None:
                self._write(self._decide(self._state, entries))
        except (WorkspaceError, LookupError, TypeError, ValueError) as error:
            # Whatever shape an answer had: nothing moves, and the next look is a new one.
            logger.warning("the registry cannot be asked", extra={"error": repr(error)})
            self._note_contact(False)

    def _decide(self, state: State, entries: Mapping[str, RegistryEntry | None]) -> Snapshot:
        before = {placed.key: placed for placed in self.current.live}
        live: list[Placed] = [placed for key, placed in before.items() if key[0] not in entries]
        refused: list[RefusedRelease] = []
        for name, entry in entries.items():
            known, aliases = state.of(name), dict(entry.aliases) if entry is not None else {}
            for alias in sorted({*aliases, *known.live, *(alias for of, alias in before if of == name)} - NOT_FOLLOWED):
                was, pointed = before.get((name, alias)), aliases.get(alias)
                judgement = self._judged(state, known, alias, pointed)
                placed, why = self._placed(name, alias, judgement.serve, was)
                live += [placed] if placed is not None else []
                if why := judgement.refused or why:
                    refused.append(_refusal(known, alias, pointed, placed, why))
        return Snapshot(tuple(live), self._to_warm(state), tuple(refused))

    def _judged(self, state: State, known: NameState, alias: str, pointed: int | None) -> Judgement:
        """What the record says of an alias as it is now; a move by hand is recorded, once."""
        moved = self._pointed.get((known.name, alias)) != pointed
        self._pointed[known.name, alias] = pointed
        content = self._content(known.name, pointed, 0.0 if moved else RECHECK_SECONDS) if pointed else None
        judgement = judge(known, alias, pointed, content)
        if judgement.record is not None:
            try:
                record_observed(
                    self.ledger, self.registry, state.serial, known, alias, pointed, judgement, self.identity
                )
            except Refused as error:
                logger.warning("a move by hand could not be recorded", extra={"error": str(error)})
        return judgement

    def _placed(self, name: str, alias: str, seal: Seal | None, was: Placed | None) -> tuple[Placed | None, str | None]:
        """What is live under one alias from now on; and why it is not what belongs there, where it is not."""
        if seal is None or (was is not None and (was.version, was.digest) == (seal.version, seal.digest)):
            return was, None
        try:
            return replace(self.fetcher.fetch(name, seal, alias), since=_now()), None
        except WorkspaceError as error:
            return was, str(error)

    def _content(self, name: str, version: int, at_most_old: float) -> str | None:
        """The digest of a version's present content, as of at most so many seconds ago."""
        asked_at, digest = self._contents.get((name, version), (-math.inf, None))
        if time.monotonic() - asked_at >= at_most_old:
            digest = present_digest(self.registry, name, version)
            self._contents[name, version] = (time.monotonic(), digest)
        return digest

    def _to_warm(self, state: State) -> tuple[Placed, ...]:
        """The releases that flips under way are about to make live."""
        found = []
        for known in state.names.values():
            seal = known.seals.get(known.intent.version or 0) if known.intent is not None else None
            if known.intent is None or known.intent.alias is None or seal is None:
                continue
            try:
                found.append(self.fetcher.fetch(known.name, seal, known.intent.alias))
            except WorkspaceError as error:
                logger.warning("a release cannot be fetched to warm it", extra={"error": str(error)})
        return tuple(found)

    def _write(self, snapshot: Snapshot) -> None:
        if snapshot == self.current and self.folder.snapshot_file.exists():
            return
        for refused in snapshot.refused:
            if refused not in self.current.refused:
                label = f"{refused.name}/{refused.version}"
                logger.error("a release is refused", extra={"release": label, "reason": refused.reason})
        try:
            self.folder.write_snapshot(snapshot)
            self.current = snapshot
        except OSError as error:
            logger.error("the snapshot cannot be written", extra={"error": str(error)})

    def _note_contact(self, reachable: bool) -> None:
        if reachable:
            self._contact = Contact.now(self.interval_ms)
        elif self._contact is not None:
            self._contact = replace(self._contact, reachable=False)
        if self._contact is None:
            return
        try:
            write_contact(self.folder.contact_file, self._contact)
        except OSError as error:
            logger.error("the contact cannot be written", extra={"error": str(error)})


def _refusal(known: NameState, alias: str, pointed: int | None, placed: Placed | None, why: str) -> RefusedRelease:
    version = pointed or (placed.version if placed is not None else 0)
    seal = known.seals.get(version)
    return RefusedRelease(known.kind, known.name, alias, version, seal.digest if seal is not None else None, why)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
