"""What drift checks found: the newest runs of `switchyard drift`, with statistics and pictures.

In: MLflow's runs. Out: a `DriftRun` for each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_project.errors import NotFound
from mlflow_project.parts import Parts

MOST_RUNS = 10
_MOST_POINTS = 400


@dataclass(frozen=True)
class DriftRun:
    """One check of one release. `points` are (x, y, whether it is of the window), each from 0 to 1."""

    release: str
    since: str
    until: str
    status: str
    rows: int
    reference: int
    explanation: str
    found: Sequence[Mapping[str, Any]]
    points: Sequence[tuple[float, float, bool]]


def drift_runs(parts: Parts, name: str) -> list[DriftRun]:
    """The newest checks of a name, newest first; none if it was never checked.

    Raises:
        Unavailable: MLflow does not answer.
    """
    try:
        experiment = parts.experiments.known_experiment(f"drift-{name}")
    except NotFound:
        return []
    runs = parts.experiments.find(experiment, {})[:MOST_RUNS]
    found = []
    for place, run in enumerate(runs):
        try:
            data = json.loads(parts.experiments.read(run, "drift.json"))
            found.append(_drift_run(data, _points(parts, run) if place == 0 else ()))
        except (NotFound, KeyError, TypeError, ValueError):
            continue
    return found


def _drift_run(data: Mapping[str, Any], points: Sequence[tuple[float, float, bool]]) -> DriftRun:
    plain = {key: data[key] for key in ("release", "since", "until", "status", "rows", "reference", "explanation")}
    return DriftRun(**plain, found=data["found"], points=points)


def _points(parts: Parts, run: Any) -> Sequence[tuple[float, float, bool]]:
    """The questions of window and reference as points in a plane; none where the check drew none."""
    try:
        drawn = json.loads(parts.experiments.read(run, "projection.json"))
    except NotFound:
        return ()
    both = [(*point, new) for key, new in (("points_before", False), ("points", True)) for point in drawn[key]]
    step = max(1, len(both) // _MOST_POINTS)
    both = both[::step]
    low = [min((point[axis] for point in both), default=0.0) for axis in (0, 1)]
    high = [max((point[axis] for point in both), default=1.0) for axis in (0, 1)]
    size = [top - bottom or 1.0 for bottom, top in zip(low, high, strict=True)]
    return [((x - low[0]) / size[0], (y - low[1]) / size[1], new) for x, y, new in both]
