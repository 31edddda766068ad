"""A flip under way: its intent record says who writes it and until when, and exactly one outcome answers it.

In: the ledger. Out: whether an intent's writer still lives, and the outcome record, appended only while the intent is
open. A promoter that stalled finds its intent answered, and moves nothing more.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil

from mlflow_project.domain.record import LedgerRecord, seconds_of
from mlflow_project.domain.times import utc_text
from mlflow_project.errors import PromotionConflict
from mlflow_project.ledger import Draft, Ledger, State

_MARGIN_SECONDS = 10.0
MOST_SECONDS = 900.0


def writer_evidence(seconds: float) -> dict[str, Any]:
    """Who writes an intent, and when others may take him for lost: after `seconds` and a margin."""
    expires = datetime.now(UTC) + timedelta(seconds=seconds + _MARGIN_SECONDS)
    process = psutil.Process()
    return {
        "writer": {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()},
        "expires": utc_text(expires),
    }


def is_under_way(intent: LedgerRecord) -> bool:
    """Whether the intent's writer may still be at work: in time, and, if on this host, alive.

    An intent stays open for at most `MOST_SECONDS`, whatever it says itself.
    """
    writer = intent.evidence.get("writer")
    if not isinstance(writer, Mapping) or time.time() > expires_at(intent):
        return False
    if writer.get("host") != socket.gethostname():
        return True
    return _lives(writer)


def expires_at(intent: LedgerRecord) -> float:
    """When others may take the intent's writer for lost, in seconds since the epoch."""
    written = seconds_of(intent.time)
    try:
        return min(seconds_of(str(intent.evidence.get("expires"))), written + MOST_SECONDS)
    except (ValueError, OverflowError):
        return written


def is_dead(intent: LedgerRecord) -> bool:
    """Whether the intent's writer is known to be gone: it ran on this host, and does no more."""
    writer = intent.evidence.get("writer")
    return isinstance(writer, Mapping) and writer.get("host") == socket.gethostname() and not _lives(writer)


def is_open(ledger: Ledger, intent: LedgerRecord) -> bool:
    """Whether nothing has answered the intent yet."""
    return _is_open(ledger.state(), intent)


def answer(ledger: Ledger, intent: LedgerRecord, outcome: Draft) -> LedgerRecord:
    """Append the outcome of an intent.

    Raises:
        PromotionConflict: somebody else has answered it.
    """
    outcome = replace(outcome, intent=intent.serial)
    while True:
        state = ledger.state()
        if not _is_open(state, intent):
            raise PromotionConflict(
                f"The flip of {intent.name} to {intent.version} (record {intent.serial}) was ended by somebody else "
                f"meanwhile: see `switchyard history {intent.name}`."
            )
        try:
            return ledger.append_at(state.serial + 1, outcome)
        except PromotionConflict:
            continue


def _is_open(state: State, intent: LedgerRecord) -> bool:
    still = state.of(intent.name).intent
    return still is not None and still.serial == intent.serial


def _lives(writer: Mapping[str, Any]) -> bool:
    """Whether this process of this host is still there."""
    try:
        return bool(psutil.Process(writer["pid"]).create_time() == writer["started"])
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False
