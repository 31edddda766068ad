"""One look at a prompt's live traffic: every release of the window, each against its own reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.drift.observed import traffic_of
from mlflow_project.drift.reference import pin, pinned
from mlflow_project.errors import NotFound
from mlflow_project.feedback.live import Row, answers
from mlflow_project.rules.drift.calibration import Found, alpha_for
from mlflow_project.rules.drift.windows import LEAST_REFERENCE, LEAST_WINDOW, Baseline

Status = Literal["drift", "quiet", "gathering", "too few"]
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Drawn:
    """What a window looks like beside its reference: topics' shares, and the questions in a plane."""

    topics: list[float]
    topics_before: list[float]
    points: Points
    points_before: Points


@dataclass(frozen=True)
class Watched:
    """One release's window. `found` is empty, and `drawn` None, while there is nothing to compare."""

    name: str
    release: str
    digest: str
    since: str
    until: str
    rows: int
    reference: int
    status: Status
    found: tuple[Found, ...] = ()
    drawn: Drawn | None = None

    @property
    def kinds(self) -> dict[str, bool]:
        """For `data`, `output` and `embeddings`: whether one of its checks alarms."""
        alarms = dict.fromkeys(("data", "output", "embeddings"), False)
        for one in self.found:
            alarms[kind_of(one.check)] |= one.alarm
        return alarms if self.found else {}

    @property
    def explanation(self) -> str:
        """A sentence for a person."""
        if self.status == "gathering":
            return (
                f"{self.release}: its reference is being gathered, its first window with {LEAST_REFERENCE} answers; "
                f"{self.rows} so far. `--pin` takes what there is."
            )
        if self.status == "too few":
            return f"{self.release}: {self.rows} answers in this window are too few; {LEAST_WINDOW} are needed."
        alarms = [one for one in self.found if one.alarm]
        if not alarms:
            return f"{self.release}: quiet. {self.rows} answers against {self.reference}."
        told = ", ".join(f"{one.check} ({one.score:.1f} times its threshold)" for one in alarms)
        return f"{self.release} drifted: {told}. {self.rows} answers against {self.reference}."


def kind_of(check: str) -> str:
    """What a check belongs to: `data` (the questions), `output` (the answers) or `embeddings` (what both mean)."""
    if check.endswith(("meaning", "classifier")):
        return "embeddings"
    return "data" if check.startswith("question") else "output"


def watch(
    store: ObjectStore, name: str, window: timedelta, *, early: bool = False, now: datetime | None = None
) -> tuple[Watched, ...]:
    """Judge every release that answered in the window up to now.

    Raises:
        NotFound: nothing of this prompt was answered in the window.
    """
    until = now or datetime.now(UTC)
    since = _iso(until - window)
    seen = {row["digest"]: row["release"] for row in answers(store.settings, name, since)}
    if not seen:
        raise NotFound(
            f"No answer of {name!r} since {since}: ask it something first, or take a longer --window. Does the "
            "follower run, and is SWITCHYARD_EVENT_SHARE above 0?"
        )
    return tuple(_watched(store, name, digest, window, until, early) for digest in sorted(seen, key=seen.__getitem__))


def _watched(store: ObjectStore, name: str, digest: str, window: timedelta, until: datetime, early: bool) -> Watched:
    rows = [row for row in answers(store.settings, name, "", digest) if row["at"] <= _iso(until)]
    reference = pinned(store, name, digest) or pin(store, name, digest, rows, window, until, early)
    since = _iso(until - window)

    def watched(status: Status, count: int, **more: Any) -> Watched:
        return Watched(name, rows[-1]["release"], digest, since, _iso(until), count, len(reference), status, **more)

    if not reference:
        return watched("gathering", len(rows))
    after = max(since, reference[-1]["at"])
    inside = [row for row in rows if row["at"] > after]
    if len(inside) < LEAST_WINDOW:
        return watched("too few", len(inside))
    found, drawn = _judged(reference, inside, window)
    return watched("drift" if any(one.alarm for one in found) else "quiet", len(inside), found=found, drawn=drawn)


def _judged(reference: Sequence[Row], inside: Sequence[Row], window: timedelta) -> tuple[tuple[Found, ...], Drawn]:
    baseline, present = Baseline(traffic_of(reference)), traffic_of(inside)
    found = baseline.judge(present, alpha_for(window.total_seconds() / 3600))
    before, now, topics = baseline.reference.question_vectors, present.question_vectors, baseline.topics
    return found, Drawn(topics.shares(now), topics.shares(before), topics.points(now), topics.points(before))


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
