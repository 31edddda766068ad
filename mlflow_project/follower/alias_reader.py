"""Reads aliases from MLflow for the follower, often enough for a quick flip and seldom enough for an idle host.

In: MLflow's registry, and the time stamps of its database where that is a file of this machine. Out: the registry
entry of every name that has a seal, never older than the ledger's state that it is compared with.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow_project.adapters.registry import Registry, RegistryEntry
from mlflow_project.ledger import State
from mlflow_project.snapshot.folder import stamp

Entries = Mapping[str, RegistryEntry | None]
"""By name; None: MLflow has no such name."""

PAUSE_FACTOR = 2.0
"""The follower rests for at least this many times the duration of its last request. So MLflow spends at most a third of
its time on one follower, however many names there are. One slow answer alone delays nothing."""
ALMOST_ONE_INTERVAL, SHORT_REST = 0.75, 0.25
"""After these shares of an interval the names are due again. The first is a little less than a whole interval, so that
a look that comes slightly early need not wait for the next one. The second holds where the time stamps of MLflow's
database say that there is something to ask for."""


class AliasReader:
    """Keeps the entries of the names between two looks of the follower.

    Attributes:
        entries: what MLflow answered last, by name.
        database: MLflow's SQLite file; None: it is not on this machine.
    """

    def __init__(self, registry: Registry, interval_ms: int, database: Path | None = None) -> None:
        self.registry = registry
        self.entries: dict[str, RegistryEntry | None] = {}
        self._interval = interval_ms / 1000
        self.database = database
        self._serial = -1
        self._stamps: tuple[tuple[int, int], ...] = ()
        self._rest_until = 0.0
        self._ping_at = math.inf
        self._duration = 0.0

    @property
    def has_news(self) -> bool:
        """Whether MLflow's database has changed since the last request; False where its file is not known."""
        return self.database is not None and self._is_rested and self._read_stamps() != self._stamps

    def read(self, state: State, *, every_name: bool) -> bool:
        """Ask for the names that are due, or only for those with a flip under way. Returns whether MLflow was asked.

        Every name is due when the ledger has a new record, when MLflow's database has changed, or, where its file is
        not known, when the interval is over.

        Args:
            every_name: ask for all names, whether they are due or not.

        Raises:
            Unavailable: MLflow does not answer.
        """
        began, stamps = time.monotonic(), self._read_stamps()
        sealed = {name for name, each in state.names.items() if each.seals}
        is_due = self._is_rested if self.database is None else self.has_news
        every_name = every_name or state.serial != self._serial or is_due
        wanted = sealed if every_name else {name for name in sealed if state.names[name].intent is not None}
        asked = self.registry.entries(wanted)
        if every_name and not sealed:
            self.registry.entry("-")
        elif not wanted and began >= self._ping_at:
            self.registry.ping()
        if every_name:
            self._serial, self._stamps, self.entries = state.serial, stamps, asked
            self._rest(began)
        self.entries |= asked
        contacted = every_name or bool(wanted) or began >= self._ping_at
        if contacted:
            self._ping_at = began + ALMOST_ONE_INTERVAL * self._interval
        return contacted

    def rest_after_failure(self) -> None:
        """Wait a little before the next request."""
        self._rest_until = time.monotonic() + SHORT_REST * self._interval

    @property
    def _is_rested(self) -> bool:
        return time.monotonic() >= self._rest_until

    def _rest(self, began: float) -> None:
        ended = time.monotonic()
        before, self._duration = self._duration, ended - began
        share = ALMOST_ONE_INTERVAL if self.database is None else SHORT_REST
        self._rest_until = max(began + share * self._interval, ended + PAUSE_FACTOR * min(before, self._duration))

    def _read_stamps(self) -> tuple[tuple[int, int], ...]:
        """The time stamps of MLflow's database: of the file, and of the log that SQLite may write beside it."""
        file = self.database
        return () if file is None else (stamp(file), stamp(file.with_name(f"{file.name}-wal")))
