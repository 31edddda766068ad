"""Reads what the hosts count. In: their objects in the coordination bucket. Out: counts by run and arm.

An object that has not changed since the last look is not fetched again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.snapshot.arm_counts import COUNTS, ArmCounts, ArmKey, Counts, runs_of

logger = logging.getLogger(__name__)


class Traffic:
    """The counts of all hosts, as of the last `read`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._bucket = store.settings.coordination_bucket
        self._hosts: dict[str, tuple[str, dict[str, Counts]]] = {}

    def read(self) -> None:
        """Fetch what has changed.

        Raises:
            Unavailable: the store does not answer.
        """
        known, self._hosts = self._hosts, {}
        for found in list(self._store.list(self._bucket, COUNTS)):
            etag, runs = known.get(found.key, ("", {}))
            if etag != found.etag:
                runs = self._runs(found.key)
            self._hosts[found.key] = (found.etag, runs)

    def of(self, arm: ArmKey) -> dict[str, ArmCounts]:
        """The counts of one arm, by run."""
        return {run: counts[arm] for run, counts in self._all() if arm in counts}

    def of_version(self, name: str, version: int) -> ArmCounts:
        """Everything that was counted of one version, on all arms."""
        total = ArmCounts()
        for _, counts in self._all():
            for arm, each in counts.items():
                if (arm.name, arm.version) == (name, version):
                    total = total.plus(each)
        return total

    def by_arm(self) -> Counts:
        """Everything that was counted, by arm."""
        total: Counts = {}
        for _, counts in self._all():
            for arm, each in counts.items():
                total[arm] = total.get(arm, ArmCounts()).plus(each)
        return total

    def _all(self) -> Iterator[tuple[str, Counts]]:
        for _, runs in self._hosts.values():
            yield from runs.items()

    def _runs(self, key: str) -> dict[str, Counts]:
        try:
            return dict(runs_of(json.loads(self._store.get(self._bucket, key))))
        except NotFound:
            return {}
        except (InvalidData, ValueError, RecursionError) as error:
            logger.error("a host's counts cannot be read", extra={"object": key, "error": str(error)})
            return {}
