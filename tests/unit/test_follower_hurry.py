"""How often a follower looks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_project.errors import Unavailable
from mlflow_project.follower.sealed import Fetcher
from mlflow_project.follower.watch import Watcher
from mlflow_project.ledger import NameState, State
from mlflow_project.snapshot.folder import ServingFolder


class Registry:
    """One that is away: what the ledger says is enough."""

    def entries(self, names: Any) -> Any:
        raise Unavailable("away")


class Answering:
    """One that knows no name, and remembers which ones it was asked for at each look."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []
        self.pings = 0

    def ping(self) -> None:
        self.pings += 1

    def entries(self, names: Any) -> Any:
        self.asked.append(set(names))
        return dict.fromkeys(names)


class Ledger:
    """Says what a test wants."""

    def __init__(self) -> None:
        self.said = State()
        self.asked = self.read = self._known = 0

    def has_news(self) -> bool:
        self.asked += 1
        return self.said.serial > self._known

    def state(self) -> State:
        self.read += 1
        self._known = self.said.serial
        return self.said

    def say(self, serial: int, *, flip_under_way: bool) -> None:
        intent: Any = SimpleNamespace(time=datetime.now(UTC).isoformat()) if flip_under_way else None
        self.said = State()
        self.said.serial = serial
        self.said.names["qa"] = NameState("prompt", "qa", intent=intent)


def _watcher(registry: Any, ledger: Any, folder: ServingFolder, database: Path | None = None) -> Watcher:
    store: Any = None
    fetcher = Fetcher(store, folder, folder.path)
    return Watcher(registry, ledger, fetcher, folder, interval_ms=100, identity="follower:test", registry_file=database)


def test_a_follower_hurries_from_an_intent_to_the_end_of_its_flip(tmp_path: Path) -> None:
    ledger: Any = Ledger()
    registry: Any = Registry()
    watcher = _watcher(registry, ledger, ServingFolder(tmp_path))
    seen = []
    for serial, under_way in ((1, False), (2, True), (2, True), (3, False)):
        ledger.say(serial, flip_under_way=under_way)
        watcher.look()
        seen.append(watcher.flip_under_way)
    assert seen == [False, True, True, False]


def test_an_idle_follower_asks_one_small_thing_a_look_and_the_registry_once_an_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    ledger, registry = Ledger(), Answering()
    ledger.say(1, flip_under_way=False)
    ledger.said.names["qa"].seals[1] = SimpleNamespace()  # type: ignore[assignment]
    folder = ServingFolder(tmp_path)
    folder.prepare()
    watcher = _watcher(registry, ledger, folder)
    for _ in range(13):
        watcher.look()
        now += 0.05
    assert [len(names) for names in registry.asked] == [1, 0] * 6 + [1]
    assert (ledger.asked, ledger.read) == (12, 1)
    watcher.look(hurry=True)
    ledger.say(2, flip_under_way=False)
    ledger.said.names["qa"].seals[1] = SimpleNamespace()  # type: ignore[assignment]
    watcher.look()
    assert [len(names) for names in registry.asked[-2:]] == [1, 1]
    assert ledger.read == 3


def test_the_time_stamp_of_mlflows_database_stands_in_for_asking_and_never_makes_a_follower_run_hot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    ledger, registry = Ledger(), Answering()
    ledger.say(1, flip_under_way=False)
    ledger.said.names["qa"].seals[1] = SimpleNamespace()  # type: ignore[assignment]
    folder, database = ServingFolder(tmp_path / "serving"), tmp_path / "mlflow.db"
    folder.prepare()
    database.write_text("one")
    watcher = _watcher(registry, ledger, folder, database)
    for _ in range(13):
        watcher.look()
        now += 0.05
    assert [len(names) for names in registry.asked] == [1] + [0] * 12
    assert registry.pings == 6
    assert not watcher.aliases.has_news
    database.write_text("another")
    assert watcher.aliases.has_news
    watcher.look()
    assert len(registry.asked[-1]) == 1
    database.write_text("a third")
    watcher.aliases.registry = Registry()  # type: ignore[assignment]
    now += 0.05
    assert watcher.aliases.has_news
    watcher.look()
    assert not watcher.aliases.has_news
