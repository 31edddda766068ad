"""The follower's look: read ledger and aliases, decide, write the snapshot, record moves by hand.

In: `LedgerReader`, `AliasReader`, `Decider`. Out: `snapshot.json` when something has changed, and `contact.json`
whenever MLflow was asked.

Most looks are short, so that an idle host costs nothing. A short look sends one request to the store, which asks
whether the ledger has a record after the newest known one. A look is whole if ledger or registry has news, if
somebody rings the follower's pipe, while a flip is under way, and every few intervals in any case.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mlflow_project.adapters.registry import Registry
from mlflow_project.errors import InvalidData, NotFound, WorkspaceError
from mlflow_project.follower.alias_reader import AliasReader
from mlflow_project.follower.decide import Decider, Judged, follow_rollouts
from mlflow_project.follower.ledger_reader import LedgerReader
from mlflow_project.follower.sealed import Fetcher
from mlflow_project.ledger import Ledger, State
from mlflow_project.ledger.observe import record_observed
from mlflow_project.seal.keys import load_trusted
from mlflow_project.snapshot.contact import Contact, read_contact, write_contact
from mlflow_project.snapshot.content import Snapshot
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.snapshot.verify import load_verified

logger = logging.getLogger(__name__)

WHOLE_LOOK_INTERVALS = 7
"""After so many intervals a look is whole, with or without news. It lists the ledger's records, asks for the content of
versions, and compares the snapshot on disk byte by byte with what the follower wrote."""


class Watcher:
    """Looks, and keeps what it has read between two looks.

    Attributes:
        current: what the snapshot file holds.
    """

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        fetcher: Fetcher,
        folder: ServingFolder,
        *,
        interval_ms: int,
        identity: str,
        registry_file: Path | None = None,
    ) -> None:
        """
        Args:
            interval_ms: how often MLflow is asked, in milliseconds.
            identity: whom the ledger names for what this follower records.
            registry_file: MLflow's SQLite database, if it is a file of this machine.
        """
        self.current = Snapshot()
        self.aliases = AliasReader(registry, interval_ms, registry_file)
        self._ledger = LedgerReader(ledger, fetcher.meters)
        self._decider = Decider(registry, fetcher)
        self._trusted, self._meters = fetcher.trusted, fetcher.meters
        self._folder = folder
        self._interval_ms = interval_ms
        self._identity = identity
        self._contact: Contact | None = None
        self._whole_look_at = 0.0
        self._has_written = False

    @property
    def flip_under_way(self) -> bool:
        """Whether a flip has begun in the last seconds, so that its alias is about to move."""
        return self._ledger.flip_under_way

    def start(self) -> None:
        """Take over the last known good releases that an earlier follower left on disk. Verifies each one again.

        Raises:
            SealBroken: there is no trusted key, so nothing can be verified. The files on disk stay as they are.
        """
        load_trusted(self._trusted)
        self._folder.prepare()
        self._contact = read_contact(self._folder.contact_file)
        try:
            self.current = load_verified(self._folder, self._trusted, self._meters)
            if self.current == self._folder.read_snapshot():
                self._folder.vouch()
        except NotFound:
            return
        except (InvalidData, OSError) as error:
            logger.error("no snapshot on disk can be read and verified", extra={"error": str(error)})

    def look(self, *, hurry: bool = False) -> None:
        """Read, decide, write. Never raises because of what it read: it refuses, logs, and keeps what is live.

        Args:
            hurry: somebody waits for this look. It is whole, and asks for every name.
        """
        every_name = hurry or time.monotonic() >= self._whole_look_at
        has_news = self._ledger.read(whole=every_name or self.flip_under_way)
        whole = has_news or every_name or self.flip_under_way
        before = dict(self.aliases.entries)
        try:
            state = self._ledger.state
            if self.aliases.read(state or State(), every_name=every_name):
                self._note_contact(True)
            if not whole and self.aliases.entries != before:
                self.look(hurry=True)  # an alias has moved: decide on a ledger that was read before the alias
            elif not whole:
                self._restore()
            elif state is not None:
                self._decide(state)
        except (WorkspaceError, LookupError, TypeError, ValueError, AttributeError) as error:
            # MLflow does not answer, or its answer has an unknown shape: no alias changes until a later look succeeds.
            logger.warning("the registry cannot be asked", extra={"error": repr(error)})
            self.aliases.rest_after_failure()
            self._note_contact(False)
            self._follow_rollouts()

    def _decide(self, state: State) -> None:
        self._whole_look_at = time.monotonic() + WHOLE_LOOK_INTERVALS * self._interval_ms / 1000
        snapshot, judged = self._decider.decide(
            state, self.aliases.entries, self.current, ledger_is_current=self._ledger.is_current
        )
        self._write(snapshot)
        self._record(state, judged)

    def _record(self, state: State, judged: Iterable[Judged]) -> None:
        """Record each move by hand once. This comes after the snapshot is written, so that no flip waits for it. If it
        fails, the next look sees the same difference and records it.
        """
        for each in judged:
            try:
                record_observed(self._ledger.ledger, self.aliases.registry, state.serial, *each, self._identity)
            except WorkspaceError as error:
                logger.warning("a move by hand could not be recorded", extra={"error": str(error)})

    def _follow_rollouts(self) -> None:
        """Follow the shares of rollouts, which need the ledger alone; leave everything else as it is."""
        state = self._ledger.state
        kept = follow_rollouts(self.current, state) if state is not None else self.current
        if kept != self.current:
            self._write(kept)
        else:
            self._restore()

    def _restore(self) -> None:
        """Write the present snapshot again if somebody else has changed the file."""
        if self.current != Snapshot() and not self._folder.holds():
            self._write(self.current)

    def _write(self, snapshot: Snapshot) -> None:
        """Replace the snapshot file unless it already holds exactly this snapshot."""
        intact = self._folder.holds(every_byte=not self.flip_under_way)
        if snapshot == self.current and intact:
            return
        if not intact and self._has_written:
            logger.error("snapshot.json was changed by somebody else; it is written again")
        for refused in snapshot.refused:
            if refused not in self.current.refused:
                label = f"{refused.name}/{refused.version}"
                logger.error("a release is refused", extra={"release": label, "reason": refused.reason})
        try:
            self._folder.write_snapshot(snapshot)
            self.current, self._has_written = snapshot, True
        except OSError as error:
            logger.error("the snapshot cannot be written", extra={"error": str(error)})

    def _note_contact(self, reachable: bool) -> None:
        """Write down whether MLflow answered. Wakes the workers when that has changed."""
        changed = self._contact is None or self._contact.reachable != reachable
        if reachable:
            self._contact = Contact.now(self._interval_ms)
        elif self._contact is not None:
            self._contact = replace(self._contact, reachable=False)
        if self._contact is None:
            return
        try:
            write_contact(self._folder.contact_file, self._contact)
            if changed:
                self._folder.wake_workers()
        except OSError as error:
            logger.error("the contact file cannot be written", extra={"error": str(error)})
