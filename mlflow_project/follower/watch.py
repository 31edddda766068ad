"""One look at registry and ledger after another; after each, the snapshot says what this host serves.

In: aliases, seals, open intents, the versions' present content. Out: `snapshot.json` when something changed, and
`contact.json` whenever the registry was asked. What is live stays live until something verified takes its place.

Most looks are short, because an idle host shall cost nothing: one request asks the store whether a record follows the
newest one that is known, and, when the interval is over, one asks MLflow for the aliases of all names. Where MLflow's
database is a file of this machine, its time stamp tells that there may be news, and MLflow is only asked whether it
lives. A look is whole if registry or ledger has news, if somebody calls, while a flip is under way, and every few
intervals in any case.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from mlflow_project.adapters.registry import Registry, RegistryEntry
from mlflow_project.domain.refusal import Cause, cause_of
from mlflow_project.errors import InvalidData, NotFound, Unavailable, WorkspaceError
from mlflow_project.follower.contents import Contents
from mlflow_project.follower.sealed import Fetcher
from mlflow_project.follower.vitals import measure_open_flips
from mlflow_project.ledger import Ledger, NameState, Seal, State
from mlflow_project.ledger.observe import Judgement, judge, record_observed
from mlflow_project.seal.keys import load_trusted
from mlflow_project.snapshot.contact import Contact, read_contact, write_contact
from mlflow_project.snapshot.content import Placed, RefusedRelease, Snapshot
from mlflow_project.snapshot.folder import ServingFolder, stamp
from mlflow_project.snapshot.verify import load_verified

logger = logging.getLogger(__name__)

NOT_FOLLOWED = frozenset({"Candidate"})
"""Aliases that mark a version and serve nobody."""
HURRY_SECONDS = 10.0
"""How long after its intent a flip is waited for with looks one upon the other."""
PAUSE = 2.0
"""Names without a flip under way are asked for again after so many times what the asking took: however many names
there are, MLflow spends at most a third of its time on one follower. One slow answer alone delays nothing."""
ALMOST, SOON = 0.75, 0.25
"""Parts of an interval after which names are due again: almost a whole one, so that a look that comes a moment early
need not wait for the next; and soon, where MLflow's database shows that it has written."""
WHOLE_LOOK_INTERVALS = 7
"""After so many intervals a look is whole, whether or not there was news: it reads the list of records, asks for the
content of versions, and compares the snapshot on disk byte by byte with what was written."""


class _Judged(NamedTuple):
    known: NameState
    alias: str
    pointed: int | None
    judgement: Judgement


@dataclass
class Watcher:
    """Keeps what it knows between looks. `current` is what the snapshot file holds."""

    registry: Registry
    ledger: Ledger
    fetcher: Fetcher
    folder: ServingFolder
    interval_ms: int
    identity: str
    registry_file: Path | None = None
    current: Snapshot = field(default_factory=Snapshot)
    _state: State | None = None
    _read: bool = False
    _pointed: dict[tuple[str, str], int] = field(default_factory=dict)
    _entries: dict[str, RegistryEntry | None] = field(default_factory=dict)
    _asked_at: int = -1
    _asked_of: tuple[tuple[int, int], ...] = ()
    _rest_until: float = 0.0
    _ping_at: float = math.inf
    _took: float = 0.0
    _contact: Contact | None = None
    _said: str = ""
    _hurry_until: float = 0.0
    _whole_at: float = 0.0
    _written: bool = False

    def __post_init__(self) -> None:
        self._contents = Contents(self.registry)

    def start(self) -> None:
        """Take over what an earlier follower left, each release verified again: it is the last known good.

        Raises:
            SealBroken: no trusted key is there, so that nothing can be verified; what is on disk stays as it is.
        """
        load_trusted(self.fetcher.trusted)
        self.folder.prepare()
        self._contact = read_contact(self.folder.contact_file)
        try:
            self.current = load_verified(self.folder, self.fetcher.trusted, self.fetcher.meters)
            if self.current == self.folder.read_snapshot():
                self.folder.vouch()
        except NotFound:
            return
        except (InvalidData, OSError) as error:
            logger.error("no whole snapshot is on disk", extra={"error": str(error)})

    def look(self, *, hurry: bool = False) -> None:
        """Ask, decide, write. Never raises for what it read: refuses, reports, and keeps what is live.

        Args:
            hurry: somebody waits for this look, so it is whole and every name is asked for.
        """
        every = hurry or time.monotonic() >= self._whole_at
        whole = self._read_ledger(every or self.hurried) or every or self.hurried
        before = dict(self._entries)
        try:
            entries = self._asked(self._state or State(), every)
            if not whole and entries != before:  # the aliases moved: decide on a ledger that was read before them
                self.look(hurry=True)
            elif not whole:
                self._restore()
            elif self._state is not None:
                self._whole_at = time.monotonic() + WHOLE_LOOK_INTERVALS * self.interval_ms / 1000
                snapshot, judged = self._decide(self._state, entries)
                self._write(snapshot)
                self._record(self._state, judged)
        except (WorkspaceError, LookupError, TypeError, ValueError, AttributeError) as error:
            # Whatever shape an answer had: nothing moves, and the next look is a new one.
            logger.warning("the registry cannot be asked", extra={"error": repr(error)})
            self._rest_until = time.monotonic() + SOON * self.interval_ms / 1000
            self._note_contact(False)
            self._restore()

    @property
    def hurried(self) -> bool:
        """Whether a flip has just begun, whose alias is about to move."""
        return time.monotonic() < self._hurry_until

    @property
    def registry_has_news(self) -> bool:
        """Whether MLflow has written into its database since it was asked; False where that file is not known."""
        return self.registry_file is not None and self._is_rested and self._written_at() != self._asked_of

    @property
    def _is_rested(self) -> bool:
        return time.monotonic() >= self._rest_until

    def _written_at(self) -> tuple[tuple[int, int], ...]:
        """The time stamps of MLflow's database: of the file, and of the log that SQLite may write beside it."""
        file = self.registry_file
        return () if file is None else (stamp(file), stamp(file.with_name(f"{file.name}-wal")))

    def _read_ledger(self, whole: bool) -> bool:
        """Take the newest state that can be read. Returns whether there may be news in it. What is odd is logged once.

        Args:
            whole: list the records, instead of asking only whether there is a next one.
        """
        self._read = False
        try:
            if not whole and self._state is not None and not self.ledger.has_news():
                self._read = True
                return False
            before, self._state = self._state, self.ledger.state()
            self._read = True
            if before is None or before.serial != self._state.serial:
                open_ = any(known.intent is not None for known in self._state.names.values())
                self._hurry_until = time.monotonic() + HURRY_SECONDS if open_ else 0.0
            if self.fetcher.meters is not None:
                measure_open_flips(self._state, self.fetcher.meters)
            passed = [f"record {each.serial}, {each.type}: {each.why}" for each in self._state.strange]
            passed += [f"record {serial} lies beyond the ledger's end" for serial in self._state.ahead[:10]]
            odd = "; ".join(passed)
        except (WorkspaceError, LookupError, TypeError, ValueError, AttributeError) as error:
            odd = str(error) or repr(error)
        if odd and odd != self._said:
            logger.error("the ledger holds what cannot be read; what is live stays", extra={"error": odd})
        self._said = odd
        return self._read

    def _asked(self, state: State, every: bool) -> dict[str, RegistryEntry | None]:
        """Every sealed name as the registry has it, never older than the ledger that it is held against: asked for now
        when the ledger has moved or the names are due; in between only those with a flip under way.
        """
        known, began = {name for name, each in state.names.items() if each.seals}, time.monotonic()
        is_due = self._is_rested if self.registry_file is None else self.registry_has_news
        every = every or state.serial != self._asked_at or is_due
        wanted = known if every else {name for name in known if state.names[name].intent is not None}
        written_at = self._written_at()
        asked = self.registry.entries(wanted)
        if every and not known:
            self.registry.entry("-")
        elif not wanted and began >= self._ping_at:
            self.registry.ping()
        if every:
            self._asked_at, self._asked_of, self._entries = state.serial, written_at, asked
            ended = time.monotonic()
            before, self._took = self._took, ended - began
            pause = (ALMOST if self.registry_file is None else SOON) * self.interval_ms / 1000
            self._rest_until = max(began + pause, ended + PAUSE * min(before, self._took))
        if every or wanted or began >= self._ping_at:
            self._ping_at = began + ALMOST * self.interval_ms / 1000
            self._note_contact(True)
        self._entries |= asked
        return self._entries

    def _decide(self, state: State, entries: Mapping[str, RegistryEntry | None]) -> tuple[Snapshot, list[_Judged]]:
        """What this host serves from now on, and the judgements that led to it."""
        self._look_at_contents(entries)
        before = {placed.key: placed for placed in self.current.live}
        live: list[Placed] = [placed for key, placed in before.items() if key[0] not in entries]
        refused: list[RefusedRelease] = []
        judged: list[_Judged] = []
        for name, entry in entries.items():
            known, aliases = state.of(name), dict(entry.aliases) if entry is not None else {}
            for alias in sorted({*aliases, *known.live, *(alias for of, alias in before if of == name)} - NOT_FOLLOWED):
                was, pointed = before.get((name, alias)), aliases.get(alias)
                judgement = self._judgement(known, alias, pointed)
                placed, error = self._placed(name, alias, judgement.serve, was)
                judgement = _unless_broken(judgement, error)
                judged.append(_Judged(known, alias, pointed, judgement))
                live += [placed] if placed is not None else []
                if judgement.refused:
                    refused.append(_refusal(known, alias, pointed, placed, judgement.refused, judgement.cause))
                elif error is not None:
                    cause = cause_of(error, "not_fetched")
                    refused.append(_refusal(known, alias, pointed, placed, str(error), cause))
        return Snapshot(tuple(live), self._to_warm(state), tuple(refused)), judged

    def _judgement(self, known: NameState, alias: str, pointed: int | None) -> Judgement:
        """What the record says of an alias as it is now. A move by hand is followed only on a ledger that was read in
        this look: an older one may not know of the flip that was undone, or that the name is protected by now."""
        content = self._contents.digest(known.name, pointed) if pointed is not None else None
        judgement = judge(known, alias, pointed, content)
        if judgement.record == "observed_flip" and not self._read:
            label = f"{known.name}/{pointed}"
            why = f"{alias} was moved to {label} by hand: that waits until the ledger can be read."
            return Judgement(None, why, cause="ledger_unread")
        return judgement

    def _record(self, state: State, judged: Iterable[_Judged]) -> None:
        """Record moves by hand, each once. Written after the snapshot, so that no flip waits for the ledger: a follower
        that ends in between, or is refused, finds the same difference at its next look."""
        for each in judged:
            try:
                record_observed(self.ledger, self.registry, state.serial, *each, self.identity)
            except WorkspaceError as error:
                logger.warning("a move by hand could not be recorded", extra={"error": str(error)})

    def _placed(
        self, name: str, alias: str, seal: Seal | None, was: Placed | None
    ) -> tuple[Placed | None, WorkspaceError | None]:
        """What is live under one alias from now on; and why it is not what belongs there, where it is not."""
        if seal is None or (was is not None and (was.version, was.digest) == (seal.version, seal.digest)):
            return was, None
        try:
            return replace(self.fetcher.fetch(name, seal, alias), since=_now()), None
        except WorkspaceError as error:
            return was, error

    def _look_at_contents(self, entries: Mapping[str, RegistryEntry | None]) -> None:
        """The present content of every version that an alias names; at once where the alias has moved."""
        pointed = {
            (name, alias): version
            for name, entry in entries.items()
            for alias, version in (entry.aliases.items() if entry is not None else ())
            if alias not in NOT_FOLLOWED
        }
        moved = {(key[0], version) for key, version in pointed.items() if self._pointed.get(key) != version}
        self._contents.refresh({(key[0], version) for key, version in pointed.items()}, moved)
        self._pointed = pointed

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

    def _restore(self) -> None:
        """Write the present snapshot again if somebody else has changed the file."""
        if self.current != Snapshot() and not self.folder.holds():
            self._write(self.current)

    def _write(self, snapshot: Snapshot) -> None:
        """Replace the snapshot file if it does not hold exactly this, whoever changed it."""
        intact = self.folder.holds(every_byte=not self.hurried)
        if snapshot == self.current and intact:
            return
        if not intact and self._written:
            logger.error("snapshot.json was changed by somebody else; it is written again")
        for refused in snapshot.refused:
            if refused not in self.current.refused:
                label = f"{refused.name}/{refused.version}"
                logger.error("a release is refused", extra={"release": label, "reason": refused.reason})
        try:
            self.folder.write_snapshot(snapshot)
            self.current, self._written = snapshot, True
        except OSError as error:
            logger.error("the snapshot cannot be written", extra={"error": str(error)})

    def _note_contact(self, reachable: bool) -> None:
        changed = self._contact is None or self._contact.reachable != reachable
        if reachable:
            self._contact = Contact.now(self.interval_ms)
        elif self._contact is not None:
            self._contact = replace(self._contact, reachable=False)
        if self._contact is None:
            return
        try:
            write_contact(self.folder.contact_file, self._contact)
            if changed:
                self.folder.wake_workers()
        except OSError as error:
            logger.error("the contact cannot be written", extra={"error": str(error)})


def _unless_broken(judgement: Judgement, error: WorkspaceError | None) -> Judgement:
    """A move by hand to a release whose seal, manifest or index does not hold is not followed; one that cannot be
    fetched just now waits.
    """
    if error is None or judgement.record != "observed_flip":
        return judgement
    record: Literal["observed_violation"] | None = None if isinstance(error, Unavailable) else "observed_violation"
    return Judgement(None, str(error), record, cause_of(error, "not_fetched"))


def _refusal(
    known: NameState, alias: str, pointed: int | None, placed: Placed | None, why: str, cause: Cause
) -> RefusedRelease:
    version = pointed or (placed.version if placed is not None else 0)
    seal = known.seals.get(version)
    digest = seal.digest if seal is not None else None
    return RefusedRelease(known.kind, known.name, alias, version, digest, why, cause)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
