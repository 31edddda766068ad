"""Counts finished requests by release and arm for the guard, and writes the counts to the serving folder.

In: finished requests, the groundedness of sampled answers, and judgements. Out: `counts/<run>.json`, which a thread
replaces twice a second while requests finish. No request waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlflow_project.domain.reference import reference
from mlflow_project.errors import InvalidAnswer
from mlflow_project.private_files import make_private_folder
from mlflow_project.rules.guard.limits import bucket_of
from mlflow_project.rules.guard.predictions import kind_of
from mlflow_project.snapshot.arm_counts import ArmCounts, ArmKey, counts_to_list, new_run
from mlflow_project.snapshot.folder import replace_file
from serving.call import Finished

logger = logging.getLogger(__name__)

PRODUCTION = "Production"
WRITE_SECONDS = 0.5
MOST_ARMS = 500
"""A worker that counts more arms forgets the ones that began first."""
BAD_SCORE = 0.5


class ArmCounter:
    """Each worker has one. Any thread may call it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / f"{new_run()}.json"
        self._counts: dict[ArmKey, ArmCounts] = {}
        self._lock = threading.Lock()
        self._changed = False

    def record(self, finished: Finished) -> None:
        """Count one request for Production. Left out: the caller's own mistakes, and callers that closed the
        connection."""
        left = finished.error is not None and finished.call.caller_left
        if finished.call.alias != PRODUCTION or finished.is_callers_mistake or left:
            return
        with self._lock:
            counts = self._of(finished)
            counts.requests += 1
            if finished.error is not None:
                counts.errors += 1
                counts.schema_failures += isinstance(finished.error, InvalidAnswer)
                return
            counts.answered += 1
            _add(counts.latency, finished.milliseconds)
            if finished.sample is not None:
                _add_prediction(counts.predictions, finished.sample.predictions)
            if finished.answer is not None:
                counts.refusals += finished.answer.refused
                if finished.answer.cost_usd is not None:
                    _add(counts.cost, 1e6 * finished.answer.cost_usd)

    def scored(self, finished: Finished, groundedness: float) -> None:
        """Count the groundedness of a sampled answer, 0 to 1."""
        if finished.call.alias != PRODUCTION:
            return
        with self._lock:
            _add(self._of(finished).ungroundedness, 1 - groundedness)

    def judged(self, release: str, arm: str, judgement: Mapping[str, Any]) -> None:
        """Count a caller's judgement of an answer that a release such as `qa/3` gave on an arm."""
        named, score = reference(release), judgement.get("score")
        with self._lock:
            known = [
                key for key in self._counts if (key.name, key.version, key.arm) == (named.name, named.version, arm)
            ]
            if not known:
                return
            counts = self._counts[known[-1]]
            counts.judged += 1
            counts.negative += bool(judgement.get("corrected_answer")) or (score is not None and score < BAD_SCORE)
            self._changed = True

    async def keep_writing(self) -> None:
        """Write the counts whenever they have changed, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            if self._changed:
                await asyncio.to_thread(self.write)

    def write(self) -> None:
        """Write the counts if they have changed."""
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            data = counts_to_list(self._counts)
        try:
            make_private_folder(self._file.parent)
            replace_file(self._file, data)
        except OSError as error:
            logger.error("the counts of this worker cannot be written", extra={"error": str(error)})

    def _of(self, finished: Finished) -> ArmCounts:
        call, release = finished.call, finished.release
        key = ArmKey(release.name, release.version, call.arm, call.rollout or 0)
        self._changed = True
        found = self._counts.get(key)
        if found is None:
            if len(self._counts) >= MOST_ARMS:
                del self._counts[next(iter(self._counts))]
            found = self._counts[key] = ArmCounts()
        return found


def _add(histogram: dict[int, int], value: float) -> None:
    bucket = bucket_of(value)
    histogram[bucket] = histogram.get(bucket, 0) + 1


def _add_prediction(kinds: dict[str, int], predictions: Any) -> None:
    """Count the prediction of one row, chosen by chance: the rows of a request depend on each other."""
    rows = np.asarray(predictions)
    kind = kind_of(rows[random.randrange(len(rows))]) if rows.ndim and len(rows) else None
    if kind is not None:
        kinds[kind] = kinds.get(kind, 0) + 1
