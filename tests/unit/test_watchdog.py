"""When a follower counts as silent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stack.watchdog import SILENT_SECONDS, is_silent

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("state", "started", "written", "silent"),
    [
        (20, 100, SILENT_SECONDS + 1, True),
        (20, 100, SILENT_SECONDS - 1, False),
        (20, SILENT_SECONDS - 1, 100, False),
        (10, 100, 100, False),
        (20, 100, -3600, False),
    ],
    ids=["says nothing", "says something", "has just started", "is only starting", "clock set back an hour"],
)
def test_a_follower_is_silent_that_runs_and_does_not_write(
    tmp_path: Path, state: int, started: float, written: float, silent: bool
) -> None:
    contact = tmp_path / "contact.json"
    contact.touch()
    os.utime(contact, (NOW - written, NOW - written))
    assert is_silent({"state": state, "start": NOW - started}, contact, NOW) is silent


def test_a_follower_that_never_had_an_answer_has_nothing_to_write(tmp_path: Path) -> None:
    assert not is_silent({"state": 20, "start": NOW - 100}, tmp_path / "contact.json", NOW)
