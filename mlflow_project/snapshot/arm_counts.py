"""Counts of answered requests, by release and arm: what the guard compares.

Workers count and write `counts/<run>.json` in the serving folder, where a run is one life of a worker. The follower
publishes the files of its host as one object, `counts/<host>.json` in the coordination bucket; the guard reads those.
Counts only grow, so a reader takes the difference to what it saw of the same run before, and a restarted worker is
neither counted twice nor lost.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_project.domain.times import utc_now
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.snapshot.folder import read_file

COUNTS_SCHEMA = "switchyard.counts/v1"
COUNTS = "counts/"
"""The prefix of the hosts' objects in the coordination bucket."""
KEEP_SECONDS = 86_400.0
MOST_RUNS = 64
"""A host keeps the counts of ended workers for a day, and of the newest of them only."""
_NUMBERS = ("requests", "errors", "schema_failures", "answered", "refusals", "judged", "negative")
_HISTOGRAMS = ("latency", "cost", "ungroundedness")


class ArmKey(NamedTuple):
    """The release and the arm whose requests are counted together. `rollout`: the id of the rollout under way, or 0."""

    name: str
    version: int
    arm: str
    rollout: int


@dataclass
class ArmCounts:
    """Counts of one arm since its worker started.

    Attributes:
        requests: that the release answered or failed to answer; not those that were the caller's mistake.
        errors: of these, how many failed. schema_failures: how many of these broke the response schema.
        answered: requests with an answer. refusals: answers that say that the release does not know.
        judged: answers with feedback. negative: with a score below 0.5, or a correction.
        latency: histogram of answered requests, in milliseconds; cost: in millionths of a dollar; ungroundedness: of
            the sampled answers, 1 - groundedness. See `mlflow_project.rules.guard.limits` for the buckets.
        predictions: one prediction of each request to a model, by kind. See `mlflow_project.rules.guard.predictions`.
    """

    requests: int = 0
    errors: int = 0
    schema_failures: int = 0
    answered: int = 0
    refusals: int = 0
    judged: int = 0
    negative: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    cost: dict[int, int] = field(default_factory=dict)
    ungroundedness: dict[int, int] = field(default_factory=dict)
    predictions: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready. Buckets become texts. Without predictions there is no such field."""
        data: dict[str, Any] = {name: getattr(self, name) for name in _NUMBERS}
        data |= {name: {str(k): v for k, v in getattr(self, name).items()} for name in _HISTOGRAMS}
        return data | ({"predictions": dict(self.predictions)} if self.predictions else {})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ArmCounts:
        """Read what `to_dict` wrote.

        Raises:
            InvalidData: a count is missing, or is no whole number from 0.
        """
        fields: dict[str, Any] = {}
        try:
            fields.update((name, _count(data[name])) for name in _NUMBERS)
            fields.update((name, {int(k): _count(v) for k, v in data[name].items()}) for name in _HISTOGRAMS)
            fields["predictions"] = {str(kind): _count(count) for kind, count in data.get("predictions", {}).items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidData(f"The counts of an arm cannot be read: {error!r}.") from error
        return cls(**fields)

    def plus(self, other: ArmCounts) -> ArmCounts:
        """Both counts together."""
        return self._with(other, 1)

    def minus(self, before: ArmCounts) -> ArmCounts:
        """What was counted since `before`."""
        return self._with(before, -1)

    def _with(self, other: ArmCounts, sign: int) -> ArmCounts:
        fields: dict[str, Any] = {name: getattr(self, name) + sign * getattr(other, name) for name in _NUMBERS}
        for name in (*_HISTOGRAMS, "predictions"):
            mine, theirs = getattr(self, name), getattr(other, name)
            added = {key: mine.get(key, 0) + sign * theirs.get(key, 0) for key in {*mine, *theirs}}
            fields[name] = {key: count for key, count in added.items() if count}
        return ArmCounts(**fields)


Counts = dict[ArmKey, ArmCounts]


def counts_to_list(counts: Mapping[ArmKey, ArmCounts]) -> list[dict[str, Any]]:
    """JSON-ready, one entry for each arm."""
    return [{**arm._asdict(), "counts": each.to_dict()} for arm, each in counts.items()]


def counts_from_list(data: Any) -> Counts:
    """Read what `counts_to_list` wrote.

    Raises:
        InvalidData: it has another form.
    """
    try:
        return {
            ArmKey(str(each["name"]), _count(each["version"]), str(each["arm"]), _count(each["rollout"])): (
                ArmCounts.from_dict(each["counts"])
            )
            for each in data
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidData(f"Counts by arm cannot be read: {error!r}.") from error


def new_run() -> str:
    """A name for one life of a worker."""
    return uuid.uuid4().hex


def host_counts(folder: Path, host: str) -> dict[str, Any]:
    """The counts of all workers of a host, as the follower publishes them. Deletes files of runs that ended long ago.
    An unreadable file is passed over."""
    files = sorted(folder.glob("*.json"), key=_changed, reverse=True)
    runs: dict[str, Any] = {}
    for number, file in enumerate(files):
        if number >= MOST_RUNS or time.time() - _changed(file) > KEEP_SECONDS:
            file.unlink(missing_ok=True)
            continue
        try:
            data = read_file(file)
            counts_from_list(data)
        except (InvalidData, NotFound):
            continue
        runs[file.stem] = data
    return {"schema": COUNTS_SCHEMA, "host": host, "at": utc_now(), "runs": runs}


def runs_of(data: Any) -> Iterator[tuple[str, Counts]]:
    """The runs in a host's object.

    Raises:
        InvalidData: it is no such object.
    """
    if not isinstance(data, Mapping) or data.get("schema") != COUNTS_SCHEMA or not isinstance(data.get("runs"), dict):
        raise InvalidData(f"A host's counts are an object of schema {COUNTS_SCHEMA}.")
    for run, counts in data["runs"].items():
        yield run, counts_from_list(counts)


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
