"""The features of one entity over time, in two times: when something happened, and when it was known.

In: all versions of an entity's events. Out: one row per pair of times (T, K): the aggregates of the windows that end at
T, computed from what was known at K. A later row never changes an earlier one, so the table only grows.

A correction is a second version of an event, with the same id and a later `known_at`. It replaces the first version
from then on, and only from then on: a row with an earlier K keeps counting the first one. All times are microseconds
since 1970 in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["count", "sum", "mean", "min", "max", "distinct", "share", "last"]
_NEVER = np.iinfo(np.int64).max
_OF_NUMBERS: Mapping[str, Callable[[Any], Any]] = {"sum": np.sum, "mean": np.mean, "min": np.min, "max": np.max}


@dataclass(frozen=True)
class Aggregate:
    """One feature: `kind` of the column `of`, over the `window` (in microseconds) that ends at a row's event time.

    `count` needs no column. `share` is the part of the events whose column equals `equal`. `last` takes a number, or
    the position of a text in `encode` (-1 for a text that is not in it). Nulls are left out of everything but `count`.
    `default` stands where there is nothing to compute from; without one the feature is null there.
    """

    name: str
    kind: Kind
    window: int
    of: str | None = None
    equal: str | float | bool | None = None
    encode: tuple[str, ...] | None = None
    default: float | None = None


@dataclass(frozen=True)
class Versions:
    """All versions of the events of one entity, in any order. `tie` orders versions of one event with equal times."""

    ids: Sequence[str]
    event_times: NDArray[np.int64]
    known: NDArray[np.int64]
    tie: Sequence[str]
    columns: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class History:
    """Rows ordered by event time, then by known time. `values` has one column per aggregate; NaN means null."""

    event_times: NDArray[np.int64]
    known: NDArray[np.int64]
    values: NDArray[np.float64]


def history(versions: Versions, aggregates: Sequence[Aggregate], after: int | None = None) -> History:
    """The rows whose known time lies after `after`; None: all rows."""
    order = sorted(range(len(versions.ids)), key=lambda row: (versions.event_times[row], versions.ids[row]))
    times, known = versions.event_times[order], versions.known[order]
    replaced = _replaced_at(versions)[order]
    columns = {name: [values[row] for row in order] for name, values in versions.columns.items()}
    longest = max((one.window for one in aggregates), default=0)
    points = [point for point in _points(times, known, replaced, longest) if after is None or point[1] > after]
    rows = np.full((len(points), len(aggregates)), np.nan)
    for number, (at, knowing) in enumerate(points):
        first, end = np.searchsorted(times, (at - longest, at), side="right")
        seen = first + np.flatnonzero((known[first:end] <= knowing) & (knowing < replaced[first:end]))
        for position, one in enumerate(aggregates):
            inside = seen[times[seen] > at - one.window]
            rows[number, position] = _value(one, inside, columns)
    pairs = np.array(points, dtype=np.int64).reshape(-1, 2)
    return History(pairs[:, 0], pairs[:, 1], rows)


def as_of(
    decisions: NDArray[np.int64], event_times: NDArray[np.int64], known: NDArray[np.int64], max_age: int | None = None
) -> NDArray[np.intp]:
    """For each decision the position of the feature row to use, or -1: of the rows that had happened and were known by
    then, and are not older than `max_age`, the one with the newest event time, and of these the newest known time."""
    order = np.lexsort((known, event_times))
    times, learnt = event_times[order], known[order]
    found = np.full(len(decisions), -1, dtype=np.intp)
    for number, at in enumerate(decisions.tolist()):
        first = 0 if max_age is None else int(np.searchsorted(times, at - max_age))
        end = int(np.searchsorted(times, at, side="right"))
        seen = np.flatnonzero(learnt[first:end] <= at)
        if len(seen):
            found[number] = order[first + seen[-1]]
    return found


def _replaced_at(versions: Versions) -> NDArray[np.int64]:
    """When each version was replaced by the next version of the same event."""
    replaced = np.full(len(versions.ids), _NEVER, dtype=np.int64)
    latest: dict[str, int] = {}
    in_order = sorted(range(len(versions.ids)), key=lambda row: (versions.known[row], versions.tie[row]))
    for row in in_order:
        before = latest.get(versions.ids[row])
        if before is not None:
            replaced[before] = versions.known[row]
        latest[versions.ids[row]] = row
    return replaced


def _points(
    times: NDArray[np.int64], known: NDArray[np.int64], replaced: NDArray[np.int64], longest: int
) -> list[tuple[int, int]]:
    """The pairs of times at which a value may change: an event, and whatever became known about its windows since."""
    corrected = replaced != _NEVER
    changed = np.concatenate([times, times[corrected]])
    learnt = np.concatenate([known, replaced[corrected]])
    order = np.argsort(changed, kind="stable")
    changed, learnt = changed[order], learnt[order]
    found = set()
    for at, first_known in zip(times.tolist(), known.tolist(), strict=True):
        first, end = np.searchsorted(changed, (at - longest, at), side="right")
        found.add((at, first_known))
        found.update((at, later) for later in learnt[first:end].tolist() if later > first_known)
    return sorted(found)


def _value(one: Aggregate, rows: NDArray[np.intp], columns: Mapping[str, Sequence[Any]]) -> float:
    nothing = np.nan if one.default is None else one.default
    if one.kind == "count":
        return float(len(rows))
    held = [value for value in (columns[str(one.of)][row] for row in rows) if value is not None]
    if one.kind == "distinct":
        return float(len(set(held)))
    if not held:
        return nothing
    if one.kind == "share":
        return sum(1 for value in held if value == one.equal) / len(held)
    if one.kind == "last":
        return encoded(held[-1], one.encode)
    numbers = np.array(held, dtype=np.float64)
    return float(_OF_NUMBERS[one.kind](numbers))


def encoded(value: Any, categories: tuple[str, ...] | None) -> float:
    """A number as it is; a text as its position among the categories, or -1."""
    if categories is None:
        return float(value)
    return float(categories.index(value)) if value in categories else -1.0
