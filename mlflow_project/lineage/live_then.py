"""Which record of the ledger made a release live at the time of an answer. Pure.

In: the records of one name, and the time in which the answer came about. Out: the record, or `Broken`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.rollout import percent
from mlflow_project.domain.times import utc_text
from mlflow_project.ledger import NameState, replay
from mlflow_project.lineage.steps import Broken

CLOCK_SECONDS = 60.0
"""How far the clocks of a server and of the ledger may differ."""

Release = tuple[int, str]
"""A version and its digest."""


def made_live(records: Sequence[LedgerRecord], release: Release, at: str, seconds: float) -> tuple[int, str]:
    """The serial of the record by which the release was live when the answer came about, and a sentence about it.

    An answer ends on the release that it began with, so the time counts from before its request.

    Args:
        records: all records of the name.
        at: when the answer ended.
        seconds: how long it took.

    Raises:
        Broken: the ledger says that another release was live, or none.
    """
    ended = _moved(at, CLOCK_SECONDS)
    began = _moved(at, -seconds - CLOCK_SECONDS)
    known = [record for record in records if record.time <= ended]
    during = sum(record.time > began for record in known)
    for left in range(during + 1):
        some = known[: len(known) - left]
        state = next(iter(replay(some).names.values()), None) if some else None
        if state is not None and (found := _by(state, release)) is not None:
            return found
    raise Broken(_instead(known, release, at))


def _by(state: NameState, release: Release) -> tuple[int, str] | None:
    if state.intent is not None and (state.intent.version, state.intent.digest) == release:
        intent = state.intent
        return (
            intent.serial,
            f"{intent.who} was moving {intent.alias} to it since {intent.time}, record {intent.serial}",
        )
    for alias, live in sorted(state.live.items()):
        if (live.version, live.digest) == release:
            return live.serial, f"live under {alias} since {live.since}: {live.how} by {live.who}, record {live.serial}"
    rollout = state.rollout
    if rollout is not None and (rollout.version, rollout.digest) == release:
        return rollout.id, f"the canary of the rollout that record {rollout.id} opened, with {percent(rollout.share)}"
    return None


def _instead(known: Sequence[LedgerRecord], release: Release, at: str) -> str:
    state = next(iter(replay(known).names.values()), None) if known else None
    if state is None or not state.live:
        return f"by the ledger nothing of this name was live at {at}"
    others = ", ".join(f"{state.name}/{live.version} ({alias})" for alias, live in sorted(state.live.items()))
    before = [record for record in known if (record.version, record.digest) == release and record.type in _FLIPS]
    last = (
        f"; version {release[0]} was made live last by record {before[-1].serial}, {before[-1].time}" if before else ""
    )
    return f"by the ledger {others} was live at {at}, and not this release{last}"


_FLIPS = ("flip", "rollback", "observed_flip")


def _moved(at: str, seconds: float) -> str:
    try:
        return utc_text(datetime.fromisoformat(at) + timedelta(seconds=seconds))
    except (ValueError, OverflowError) as error:
        raise Broken(f"the event says that it happened at {at!r}, which is no time") from error
