"""Counts by release and arm: each request once, whatever restarts, and nothing that is not live traffic."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_project.domain.answer import Answer
from mlflow_project.errors import InvalidAnswer, InvalidData, ProviderError
from mlflow_project.snapshot.arm_counts import KEEP_SECONDS, ArmCounts, ArmKey, Counts, host_counts, runs_of
from serving.after.arm_counts import ArmCounter

PRODUCTION = ArmKey("qa", 3, "production", 0)


def finished(error: BaseException | None = None, predictions: Any = None, **call: Any) -> Any:
    said = {"alias": "Production", "arm": "production", "rollout": None, "caller_left": False, **call}
    return SimpleNamespace(
        call=SimpleNamespace(**said),
        release=SimpleNamespace(name="qa", version=3),
        error=error,
        is_callers_mistake=isinstance(error, InvalidData),
        answer=None if error else Answer("I do not know.", refused=True, cost_usd=0.002),
        milliseconds=800.0,
        sample=None if predictions is None else SimpleNamespace(predictions=predictions),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "counts"


def published(folder: Path) -> dict[str, Counts]:
    return dict(runs_of(host_counts(folder, "a-host")))


def only(folder: Path) -> ArmCounts:
    (counts,) = published(folder).values()
    return counts[PRODUCTION]


def test_a_request_is_counted_once_with_what_the_guard_compares(folder: Path) -> None:
    counter = ArmCounter(folder)
    counter.record(finished())
    counter.record(finished(ProviderError("It failed.", kind="http_error")))
    counter.record(finished(InvalidAnswer("It breaks the schema.")))
    counter.scored(finished(), 0.25)
    counter.judged("qa/3", "production", {"score": 0})
    counter.judged("qa/3", "production", {"score": 1})
    counter.write()
    counts = only(folder)
    assert (counts.requests, counts.errors, counts.schema_failures) == (3, 2, 1)
    assert (counts.answered, counts.refusals, counts.judged, counts.negative) == (1, 1, 2, 1)
    assert [sum(each.values()) for each in (counts.latency, counts.cost, counts.ungroundedness)] == [1, 1, 1]


def test_one_prediction_of_a_request_to_a_model_is_counted_and_no_text_of_it_is_written(folder: Path) -> None:
    counter = ArmCounter(folder)
    counter.record(finished(predictions=[1, 1, 1]))
    counter.record(finished(predictions=[[0.1, 0.7, 0.2]]))
    counter.record(finished(predictions=["anna@example.com"]))
    counter.record(finished(predictions=[float("nan")]))
    counter.write()
    counts = only(folder).predictions
    assert (counts["1"], sum(counts.values()), "anna" in str(counts)) == (2, 3, False)


def test_counts_of_a_host_that_counts_no_predictions_yet_can_be_read() -> None:
    data = ArmCounts(requests=3).to_dict()
    assert "predictions" not in data
    assert ArmCounts.from_dict(data) == ArmCounts(requests=3)


def test_only_live_traffic_counts(folder: Path) -> None:
    counter = ArmCounter(folder)
    counter.record(finished(alias="Staging"))
    counter.record(finished(InvalidData("The caller's mistake.")))
    counter.record(finished(ConnectionError(), caller_left=True))
    counter.judged("qa/3", "production", {"score": 0})
    counter.write()
    assert published(folder) == {}


def test_arms_and_rollouts_are_counted_apart(folder: Path) -> None:
    counter = ArmCounter(folder)
    counter.record(finished(arm="canary", rollout=7))
    counter.record(finished(arm="baseline", rollout=7))
    counter.record(finished(arm="canary", rollout=9))
    counter.write()
    (counts,) = published(folder).values()
    assert set(counts) == {
        ArmKey("qa", 3, "canary", 7),
        ArmKey("qa", 3, "baseline", 7),
        ArmKey("qa", 3, "canary", 9),
    }


def test_a_restarted_worker_begins_a_new_run_and_the_old_one_stays(folder: Path) -> None:
    for _ in range(2):
        counter = ArmCounter(folder)
        counter.record(finished())
        counter.write()
    assert [counts[PRODUCTION].requests for counts in published(folder).values()] == [1, 1]


def test_runs_that_ended_a_day_ago_and_damaged_files_are_left_out(folder: Path) -> None:
    counter = ArmCounter(folder)
    counter.record(finished())
    counter.write()
    (file,) = folder.iterdir()
    old = time.time() - KEEP_SECONDS - 60
    os.utime(file, (old, old))
    (folder / "damaged.json").write_text('[{"name": "qa"}]')
    assert published(folder) == {}
    assert not file.exists()


def test_the_difference_of_two_looks_is_what_was_counted_in_between() -> None:
    before = ArmCounts(requests=5, errors=1, latency={3: 4})
    after = ArmCounts(requests=9, errors=1, latency={3: 6, 7: 2})
    assert after.minus(before) == ArmCounts(requests=4, latency={3: 2, 7: 2})
    assert after.minus(before).plus(before) == after


@pytest.mark.parametrize("data", [None, [], {"schema": "switchyard.counts/v1", "runs": {"r": [{"name": "qa"}]}}])
def test_an_object_of_another_form_is_refused(data: Any) -> None:
    with pytest.raises(InvalidData):
        dict(runs_of(data))
