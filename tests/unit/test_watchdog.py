"""When a follower counts as silent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stack.watchdog import FIRST_LOOK_SECONDS, SILENT_SECONDS, Watchdog

NOW = 1_000_000.0


def written(folder: Path, ago: float) -> Path:
    contact = folder / "contact.json"
    contact.touch()
    os.utime(contact, (NOW - ago, NOW - ago))
    return contact


@pytest.mark.parametrize(
    ("state", "started", "ago", "silent"),
    [
        (20, 100, SILENT_SECONDS + 1, True),
        (20, 100, SILENT_SECONDS - 1, False),
        (20, SILENT_SECONDS + 5, 100, False),
        (20, FIRST_LOOK_SECONDS + 1, 1_000, True),
        (10, 100, 100, False),
        (20, 100, -3600, False),
    ],
    ids=[
        "says nothing",
        "says something",
        "has not looked yet",
        "never comes to its first look",
        "is only starting",
        "clock set back an hour",
    ],
)
def test_a_follower_is_silent_that_runs_and_does_not_write(
    tmp_path: Path, state: int, started: float, ago: float, silent: bool
) -> None:
    watchdog = Watchdog(written(tmp_path, ago))
    assert watchdog.is_silent({"state": state, "start": NOW - started}, NOW) is silent


def test_a_follower_that_never_had_an_answer_has_nothing_to_write(tmp_path: Path) -> None:
    assert not Watchdog(tmp_path / "contact.json").is_silent({"state": 20, "start": NOW - 1_000}, NOW)


def test_each_ended_follower_buys_the_next_one_twice_the_time_until_one_writes(tmp_path: Path) -> None:
    watchdog = Watchdog(written(tmp_path, 1_000))
    slow = {"state": 20, "start": NOW - 1.5 * FIRST_LOOK_SECONDS}
    assert watchdog.is_silent(slow, NOW)
    watchdog.ended()
    assert not watchdog.is_silent(slow, NOW)
    written(tmp_path, 1)
    watchdog.is_silent(slow, NOW)
    assert watchdog.patience == 1
