"""A rollout of a real model on a real server: the guard ends it when predictions drift, and finishes it otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mlflow_project.adapters.lease import Lease
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.rollout import Plan
from mlflow_project.guard.process import LEASE, Guard
from mlflow_project.guard.words import words
from mlflow_project.parts import Parts
from mlflow_project.rollouts.start import start
from mlflow_project.settings import ClientSettings
from mlflow_project.snapshot.folder import ServingFolder
from tests.models.conftest import FEATURES, Models, transactions
from tests.models.test_serving import ROW, ask, constant, serves
from tests.serving.conftest import Host, host

__all__ = ["host"]

ANNA = "user:anna"
PLAN = Plan((0.4, 1.0), 1.0, "request", {})
SMOKE = ({"dataframe_records": [ROW]},)
ROWS = transactions(400, 7)[list(FEATURES)].to_dict("records")


@pytest.fixture
def parts(host: Host) -> Parts:
    client = ClientSettings(api_url=f"http://127.0.0.1:{host.port}")
    return replace(Parts.connect(), serving=ServingFolder(host.folder), client=client, receipt_timeout=20.0)


def traffic_until(parts: Parts, host: Host, name: str, kind: str) -> LedgerRecord:
    """Rows are asked, and the guard looks, until the ledger has a record of this kind."""
    with Lease(parts.store, LEASE, ttl=10.0) as lease:
        guard, deadline = Guard(parts, lease), time.monotonic() + 60
        for record in records_while(parts, host, guard, name, kind):
            if record is not None:
                return record
            assert time.monotonic() < deadline, words(parts.store).get(name)
    raise AssertionError("the callers never stop")


def records_while(parts: Parts, host: Host, guard: Guard, name: str, kind: str) -> Iterator[LedgerRecord | None]:
    while True:
        for row in ROWS[:100]:
            assert ask(host, name, [row]).status_code == 200
        guard.look()
        yield next((each for each in parts.ledger.records() if (each.name, each.type) == (name, kind)), None)


@pytest.mark.long
def test_a_model_whose_predictions_drift_is_taken_back_and_one_that_predicts_alike_goes_to_the_end(
    models: Models, host: Host, parts: Parts
) -> None:
    name = models.name
    for version in (1, 2, 3):
        models.register(seed=version, **({"model": constant(1)} if version == 2 else {}))
        models.seal(version)
        if version == 1:
            models.promote(1)
            serves(host, models, 1)
    for row in ROWS[:100]:
        ask(host, name, [row])

    rollout = start(parts, name, 2, PLAN, ANNA, smoke=SMOKE).rollout
    aborted = traffic_until(parts, host, name, "abort")
    assert (aborted.who, aborted.intent) == ("guard", rollout.id)
    found = {each["indicator"]: each for each in aborted.evidence["guard"]["indicators"]}
    assert found["prediction_drift"]["answer"] == "harm"
    assert abs(found["prediction_drift"]["rate"] - found["prediction_drift"]["rate_before"]) > 0.3
    assert {ask(host, name).headers["X-Release"] for _ in range(20)} == {f"{name}/1"}

    start(parts, name, 3, PLAN, ANNA, smoke=SMOKE)
    finished = traffic_until(parts, host, name, "finish")
    assert (finished.who, finished.evidence["guard"]["answer"]) == ("guard", "clear")
    assert {ask(host, name).headers["X-Release"] for _ in range(20)} == {f"{name}/3"}
