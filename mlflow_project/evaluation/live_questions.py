"""Chooses live questions for a replay: by session where there is one, stratified by time and route.

In: recorded answers. Out: cases in the order of their time, with the unit of each: its session, or its own event. A
session is taken with all its questions, or not at all, except for the last one that fits. The choice depends on the
units and a seed alone. Memory is bounded: of many questions a uniform sample of the units is kept.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mlflow_project.domain.answer import Case
from mlflow_project.feedback.live import Row

TIME_SLICES = 24
"""A window is divided into so many slices of the same length."""
MOST_KEPT = 50_000

Stratum = tuple[int, str]
"""A slice of the window, and a route."""


@dataclass(frozen=True)
class LiveQuestion:
    """One recorded question that can be asked again. `priority` (0 to 1) is that of its unit."""

    at: str
    unit: str
    stratum: Stratum
    priority: float
    case: Case


@dataclass(frozen=True)
class LiveSample:
    """The chosen questions in the order of their time.

    `found` counts the questions that could have been chosen, `left_out` those that were not recorded whole.
    """

    questions: tuple[LiveQuestion, ...]
    found: int
    left_out: int

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases to ask."""
        return tuple(question.case for question in self.questions)

    @property
    def units(self) -> tuple[str, ...]:
        """The unit of each case."""
        return tuple(question.unit for question in self.questions)


def choose(answers: Iterable[Row], n: int, since: float, seconds: float, seed: str) -> LiveSample:
    """Choose up to `n` questions of a window that begins at `since` (epoch seconds) and is `seconds` long."""
    counts: Counter[Stratum] = Counter()
    kept: list[LiveQuestion] = []
    limit, left_out = 1.0, 0
    for answer in answers:
        question = _question(answer, since, seconds, seed)
        if question is None:
            left_out += 1
            continue
        counts[question.stratum] += 1
        if question.priority < limit:
            kept.append(question)
        if len(kept) > max(MOST_KEPT, 4 * n):
            limit = sorted(each.priority for each in kept)[len(kept) // 2]
            kept = [each for each in kept if each.priority < limit] or kept[: n or 1]
    chosen = sorted(_chosen(kept, _quotas(counts, n), n), key=lambda each: (each.at, each.case.id))
    return LiveSample(tuple(chosen), counts.total(), left_out)


def _question(answer: Row, since: float, seconds: float, seed: str) -> LiveQuestion | None:
    """None: the question was not recorded whole, or belongs to a request that failed."""
    inputs = _inputs(answer.get("inputs"))
    question, at = answer.get("question"), _seconds(answer["at"])
    if inputs is None or not isinstance(question, str) or not question.strip() or at is None:
        return None
    route, event = str(answer.get("route") or "unknown"), answer["event_id"]
    unit = f"session {answer['session']}" if answer.get("session") else f"request {event}"
    piece = min(TIME_SLICES - 1, max(0, int((at - since) / seconds * TIME_SLICES)))
    hashed = hashlib.sha256(f"{seed}|{unit}".encode()).digest()
    case = Case(
        id=event,
        question=question,
        context=inputs.get("context"),
        variables=inputs["variables"],
        tags=(route,),
        origin=f"request {answer.get('request_id')} at {answer['at']}",
    )
    return LiveQuestion(answer["at"], unit, (piece, route), int.from_bytes(hashed[:8]) / 2**64, case)


def _inputs(text: Any) -> Mapping[str, Any] | None:
    try:
        inputs = orjson.loads(text)
        variables, context = inputs["variables"], inputs.get("context")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    texts = isinstance(variables, dict) and all(isinstance(value, str) for value in variables.values())
    return inputs if texts and isinstance(context, str | None) else None


def _seconds(at: str) -> float | None:
    try:
        return datetime.fromisoformat(at).timestamp()
    except ValueError:
        return None


def _quotas(counts: Counter[Stratum], n: int) -> dict[Stratum, int]:
    """How many questions of each stratum: in proportion, the largest remainders first."""
    total = counts.total()
    if total <= n:
        return dict(counts)
    shares = {stratum: count * n / total for stratum, count in counts.items()}
    quotas = {stratum: math.floor(share) for stratum, share in shares.items()}
    by_remainder = sorted(shares, key=lambda stratum: (quotas[stratum] - shares[stratum], stratum))
    for stratum in by_remainder[: n - sum(quotas.values())]:
        quotas[stratum] += 1
    return quotas


def _chosen(kept: Sequence[LiveQuestion], quotas: Mapping[Stratum, int], n: int) -> list[LiveQuestion]:
    """Fill each stratum's quota with units in the order of their priority, then the rest with any units. A unit belongs
    to the stratum of its first question.
    """
    units: defaultdict[str, list[LiveQuestion]] = defaultdict(list)
    for question in sorted(kept, key=lambda each: (each.at, each.case.id)):
        units[question.unit].append(question)
    ordered = sorted(units.values(), key=lambda each: (each[0].priority, each[0].unit))
    chosen: list[LiveQuestion] = []
    passed_over = []
    room = dict(quotas)
    for questions in ordered:
        stratum = questions[0].stratum
        if room.get(stratum, 0) <= 0:
            passed_over.append(questions)
            continue
        room[stratum] -= len(questions)
        chosen += questions
    for questions in passed_over:
        if len(chosen) >= n:
            break
        chosen += questions
    return chosen[:n]
