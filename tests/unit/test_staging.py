"""The pass over raw rows in a worker: what it leaves behind in the worker's process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from mlflow_project.rules.chunking.records import Fields
from mlflow_project.rules.chunking.splitter import Splitter
from spark_jobs.cutting import Cutter
from spark_jobs.examination import Examiner
from spark_jobs.rows import Row
from spark_jobs.staging import Stager, _stage

STAGER = Stager(Examiner(Fields(), False, ""), Cutter(Splitter()), None, None, "run", datetime(2026, 1, 1, tzinfo=UTC))
KNOWN = SimpleNamespace(value=np.array([], np.uint64))


def rows(fail: bool = False) -> Iterator[list[Row]]:
    yield [(("file", 0, 0), b'{"id": "a", "text": "A text."}'), (("file", 0, 1), None)]
    if fail:
        raise OSError("The disk is gone.")


def test_the_cycle_collector_works_again_when_the_task_ends_fails_or_is_cut_short() -> None:
    assert len(list(_stage(rows(), STAGER, KNOWN))) == 2
    assert gc.isenabled()
    with pytest.raises(OSError, match="gone"):
        list(_stage(rows(fail=True), STAGER, KNOWN))
    assert gc.isenabled()
    cut_short = _stage(rows(), STAGER, KNOWN)
    next(cut_short)
    assert not gc.isenabled()
    cut_short.close()
    assert gc.isenabled()
