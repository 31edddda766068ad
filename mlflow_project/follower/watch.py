"""One look at registry and ledger after another; after each, the snapshot says what this host serves.

In: aliases, seals, open intents, the versions' present content. Out: `snapshot.json` when something changed, and
`contact.json` after every look. What is live stays live until something verified takes its place.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from mlflow_project.adapters.registry import Registry, RegistryEntry
from mlflow_project.errors import NotFound, Refused, Unavailable, WorkspaceError
from mlflow_project.follower.sealed import Fetcher, check_content
from mlflow_project.ledger import Ledger, NameState, Seal, State
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
    current: Snapshot = field(default_factory=Snapshot)
    _state: State | None = None
    _checked: dict[tuple[str, int, str], tuple[float, str | None]] = field(default_factory=dict)
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
        except Unavailable as error:
            logger.warning("the registry cannot be asked", extra={"error": str(error)})
            self._note_contact(False)

    def _decide(self, state: State, entries: Mapping[str, RegistryEntry | None]) -> Snapshot:
        before = {placed.key: placed for placed in self.current.live}
        live: list[Placed] = [placed for key, placed in before.items() if key[0] not in entries]
        refused: list[RefusedRelease] = []
        for name, entry in entries.items():
            aliases = dict(entry.aliases) if entry is not None else {}
            kept = {alias for kept_name, alias in before if kept_name == name}
            for alias in sorted((set(aliases) | kept) - NOT_FOLLOWED):
                placed, no = self._under(state.of(name), alias, aliases.get(alias), before.get((name, alias)))
                live += [placed] if placed is not None else []
                refused += [no] if no is not None else []
        return Snapshot(tuple(live), self._to_warm(state), tuple(refused))

    def _under(
        self, known: NameState, alias: str, version: int | None, before: Placed | None
    ) -> tuple[Placed | None, RefusedRelease | None]:
        """What is live under one alias from now on, and what is refused there."""
        name = known.name
        if version is None:
            assert before is not None
            reason = f"The alias {alias} of {name} is gone from MLflow; {name}/{before.version} stays live."
            return before, RefusedRelease(before.manifest.kind, name, alias, before.version, before.digest, reason)
        seal = known.seals.get(version)
        if seal is None:
            reason = f"{name}/{version} has no seal: run `switchyard gate {name} --version {version}`."
            return before, RefusedRelease(known.kind, name, alias, version, None, reason)
        try:
            self._check(name, seal)
            if before is not None and (before.version, before.digest) == (version, seal.digest):
                return before, None
            return replace(self.fetcher.fetch(name, seal, alias), since=_now()), None
        except WorkspaceError as error:
            return before, RefusedRelease(known.kind, name, alias, version, seal.digest, str(error))

    def _check(self, name: str, seal: Seal) -> None:
        """The version's present content, asked once a second; in between, what was found then."""
        key = (name, seal.version, seal.digest)
        checked_at, broken = self._checked.get(key, (-RECHECK_SECONDS, None))
        if time.monotonic() - checked_at >= RECHECK_SECONDS:
            try:
                check_content(self.registry, name, seal)
                broken = None
            except Refused as error:
                broken = str(error)
            self._checked[key] = (time.monotonic(), broken)
        if broken is not None:
            raise Refused(broken)

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
                logger.error("a release is refused", extra=refused.to_dict())
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
