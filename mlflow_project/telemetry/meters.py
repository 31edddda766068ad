"""Adds up measurements of the catalogue's metrics, from any thread. `sending` sends them.

Labels are bounded in two ways. A metric takes only the labels that the catalogue names; and each label takes at most
`MOST_VALUES` distinct values per process, and counts all later ones under `other`.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from copy import deepcopy

from mlflow_project.telemetry.catalogue import Metric
from mlflow_project.telemetry.series import Series, series

MOST_VALUES = 100
_MOST_KNOWN = 4096


class Meters:
    """The measurements of one process. If `listening` is false, nothing is recorded."""

    def __init__(self, *, listening: bool = True) -> None:
        self.listening = listening
        self._lock = threading.Lock()
        self._known: dict[tuple[object, ...], Series] = {}
        self._series: dict[Metric, dict[tuple[tuple[str, str], ...], Series]] = defaultdict(dict)
        self._seen: dict[str, set[str]] = defaultdict(set)

    def record(self, metric: Metric, value: float, **labels: object) -> None:
        """Add to a counter, observe into a histogram, or set a gauge.

        In the name of a label, `__` stands for a dot. A label whose value is None is left out.
        """
        if not self.listening:
            return
        key = (metric.name, *labels.items())
        with self._lock:
            found = self._known.get(key)
            if found is None:
                found = self._series_for(metric, labels)
                if len(self._known) < _MOST_KNOWN:
                    self._known[key] = found
            found.add(value)

    def now(self) -> Mapping[Metric, list[Series]]:
        """A copy of all measurements; empty if nothing was measured."""
        with self._lock:
            return {metric: deepcopy(list(found.values())) for metric, found in self._series.items()}

    def _series_for(self, metric: Metric, labels: Mapping[str, object]) -> Series:
        named = {key.replace("__", "."): str(value) for key, value in labels.items() if value is not None}
        if unknown := named.keys() - set(metric.labels):
            raise ValueError(
                f"{metric.name} takes no label {', '.join(sorted(unknown))}: the catalogue names its labels."
            )
        bounded = {key: self._admitted(key, value) for key, value in named.items()}
        at = tuple(sorted(bounded.items()))
        return self._series[metric].setdefault(at, series(metric, bounded))

    def _admitted(self, key: str, value: str) -> str:
        seen = self._seen[key]
        if value in seen:
            return value
        if len(seen) >= MOST_VALUES:
            return "other"
        seen.add(value)
        return value
