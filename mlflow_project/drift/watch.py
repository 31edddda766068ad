"""Checks live traffic of a prompt or a model: each release that answered in a window, against its own reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.times import utc_text
from mlflow_project.drift.observed import sampled, tables_of, traffic_of
from mlflow_project.drift.reference import pin, pinned
from mlflow_project.errors import NotFound
from mlflow_project.feedback.live import Row, answers
from mlflow_project.rules.drift.calibration import Found, alpha_for
from mlflow_project.rules.drift.traffic import Topics
from mlflow_project.rules.drift.windows import LEAST_REFERENCE, LEAST_WINDOW, Baseline

Status = Literal["drift", "quiet", "gathering", "too few"]
Points = list[tuple[float, float]]
KINDS = ("data", "output", "embeddings", "corpus")


@dataclass(frozen=True)
class Drawn:
    """A window beside its reference, for pictures: the topics' shares, and the questions as points in a plane."""

    topics: list[float]
    topics_before: list[float]
    points: Points
    points_before: Points


@dataclass(frozen=True)
class Watched:
    """The result for one release: of its answers in a window, or of its documents since it pinned them.

    While there is nothing to compare, `found` is empty and `drawn` is None. For documents and for models, `drawn` is
    always None.
    """

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
    counted: Literal["answers", "documents"] = "answers"
    of_model: bool = False
    per_hour: float | None = None
    """Answers per hour while the reference was gathered."""

    @property
    def kinds(self) -> dict[str, bool]:
        """Whether an alarm was raised, for each kind of drift that was checked."""
        return {kind: self._alarms(kind) for kind in KINDS if any(kind_of(one.check) == kind for one in self.found)}

    @property
    def explanation(self) -> str:
        """A sentence for a person."""
        if self.status == "gathering":
            return (
                f"{self.release}: no reference yet. It is the first window with {LEAST_REFERENCE} answers "
                f"or more; there are {self.rows} so far. `--pin` takes these."
            )
        if self.status == "too few":
            return (
                f"{self.release}: {self.rows} answers after the reference in this window are too few; {LEAST_WINDOW} "
                f"are needed.{self._wait()}"
            )
        alarms = [one for one in self.found if one.alarm]
        if not alarms:
            return f"{self.release}: quiet. {self.rows} {self.counted} against {self.reference}."
        checks = ", ".join(f"{one.check} ({one.score:.1f} times its threshold)" for one in alarms)
        return f"{self.release} drifted: {checks}. {self.rows} {self.counted} against {self.reference}."

    def _wait(self) -> str:
        """How long it takes until there are enough answers to compare, at the pace at which the reference came."""
        if not self.per_hour:
            return ""
        hours = (LEAST_WINDOW - self.rows) / self.per_hour
        window = (datetime.fromisoformat(self.until) - datetime.fromisoformat(self.since)) / timedelta(hours=1)
        needed = LEAST_WINDOW / self.per_hour
        text = f" At the pace of the reference ({self.per_hour:.3g} an hour) that takes about {_length(hours)}."
        if needed <= window:
            return text
        return f"{text} This window is too short for that: take --window {math.ceil(needed)}h or more."

    def _alarms(self, kind: str) -> bool:
        return any(one.alarm for one in self.found if kind_of(one.check) == kind)


def _length(hours: float) -> str:
    """A length of time for people."""
    if hours < 1:
        return f"{max(1, math.ceil(hours * 60))} min"
    return f"{math.ceil(hours)} h" if hours < 48 else f"{math.ceil(hours / 24)} days"


def kind_of(check: str) -> str:
    """The kind of a check: `data` (questions, a model's inputs), `output` (answers, predictions), `embeddings` (the
    meaning of questions and answers) or `corpus` (documents)."""
    if check.startswith("input "):
        return "data"
    if check.startswith("prediction"):
        return "output"
    if check.startswith("corpus"):
        return "corpus"
    if check.endswith(("meaning", "classifier")):
        return "embeddings"
    return "data" if check.startswith("question") else "output"


def watch(
    store: ObjectStore, name: str, window: timedelta, until: datetime, *, early: bool = False
) -> tuple[Watched, ...]:
    """Check every release that answered in the window that ends at `until`.

    Raises:
        NotFound: the prompt or model answered nothing in the window.
    """
    since = utc_text(until - window)
    rows = [row for row in answers(store.settings, name, since) if row["at"] <= utc_text(until)]
    if not rows:
        raise NotFound(
            f"{name!r} has given no answer since {since}. Ask it something, or take a longer --window. If it did "
            "answer, check its name (`switchyard live` lists names), that the follower runs, and that "
            "SWITCHYARD_EVENT_SHARE is above 0."
        )
    by_digest: dict[str, list[Row]] = {}
    for row in rows:
        by_digest.setdefault(row["digest"], []).append(row)
    return tuple(
        _watched(store, of_release, window, until, early)
        for of_release in sorted(by_digest.values(), key=lambda found: str(found[-1]["release"]))
    )


def _watched(store: ObjectStore, rows: Sequence[Row], window: timedelta, until: datetime, early: bool) -> Watched:
    """The result for one release. `rows` are its answers in the window."""
    newest = rows[-1]
    name, digest = newest["name"], newest["digest"]
    reference = pinned(store, name, digest) or pin(store, name, digest, window, until, early=early)

    def watched(status: Status, count: int, **more: Any) -> Watched:
        since = utc_text(until - window)
        return Watched(name, newest["release"], digest, since, utc_text(until), count, len(reference), status, **more)

    if not reference:
        return watched("gathering", len(rows))
    inside = [row for row in rows if row["at"] > reference[-1]["at"]]
    is_model = bool(sampled(reference))
    inside = sampled(inside) if is_model else inside
    if len(inside) < LEAST_WINDOW:
        return watched("too few", len(inside), per_hour=_per_hour(sampled(reference) if is_model else reference))
    found, drawn = (_judged_rows if is_model else _judged)(reference, inside, window)
    status: Status = "drift" if any(one.alarm for one in found) else "quiet"
    return watched(status, len(inside), found=found, drawn=drawn, of_model=is_model)


def _judged_rows(reference: Sequence[Row], inside: Sequence[Row], window: timedelta) -> tuple[tuple[Found, ...], None]:
    """The result for a model: per column of its inputs, and per prediction."""
    before, present = tables_of(sampled(reference), inside)
    return Baseline(before).judge(present, alpha_for(window.total_seconds() / 3600)), None


def _per_hour(reference: Sequence[Row]) -> float | None:
    first, last = (datetime.fromisoformat(reference[at]["at"]) for at in (0, -1))
    return (len(reference) - 1) / ((last - first) / timedelta(hours=1)) if last > first else None


def _judged(reference: Sequence[Row], inside: Sequence[Row], window: timedelta) -> tuple[tuple[Found, ...], Drawn]:
    baseline, present = Baseline(traffic_of(reference)), traffic_of(inside)
    found = baseline.judge(present, alpha_for(window.total_seconds() / 3600))
    topics = baseline.checks
    assert isinstance(topics, Topics), "what `Traffic` is fitted to"
    before, now = baseline.reference.question_vectors, present.question_vectors
    return found, Drawn(topics.shares(now), topics.shares(before), topics.points(now), topics.points(before))
