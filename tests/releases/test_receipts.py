"""Flips on the whole stack: receipts of real workers, and hands on aliases that the follower sees."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import pytest

from mlflow_project.parts import Parts
from mlflow_project.promotion.hosts import presences
from mlflow_project.promotion.promote import promote, rollback
from mlflow_project.promotion.receipts import live_workers
from mlflow_project.promotion.views import history, live
from mlflow_project.settings import ClientSettings, load
from tests.releases.conftest import Yard

ANNA = "user:anna"


@pytest.fixture
def yard(stack: Any) -> Iterator[Yard]:
    """The stack's own ledger, and a prompt name that nobody else has."""
    parts = Parts.connect()
    wait_for(lambda: bool(live_workers(presences(parts.store))))
    yield Yard(parts, f"qa-{uuid4().hex[:8]}", {})
    parts.registry.close()


def wait_for(holds: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def served(yard: Yard) -> int | None:
    rows = httpx.get(load(ClientSettings).api_url + "/releases", timeout=5).json()["releases"]
    return next((row["version"] for row in rows if (row["name"], row["alias"]) == (yard.name, "Production")), None)


def flip(yard: Yard, version: int) -> Any:
    yard.seal(version)
    return promote(yard.parts, yard.name, version, "Production", ANNA)


def test_a_flip_ends_when_every_live_worker_serves_the_release(yard: Yard) -> None:
    first, second = yard.register("1 {{question}}"), yard.register("2 {{question}}")
    for version in (first, second):
        done = flip(yard, version)
        assert served(yard) == version
        assert (set(done.receipts.milliseconds), done.receipts.missing) == (set(done.receipts.workers), ())
        assert done.receipts.workers
    back = rollback(yard.parts, yard.name, ANNA)
    assert (served(yard), back.receipts.missing) == (first, ())
    (row,) = [row for row in live(yard.parts) if row.name == yard.name]
    assert (row.serving, row.missing) == (row.workers, ())
    recorded = history(yard.parts, yard.name)[-1].evidence["receipts"]
    assert recorded["received"] == recorded["workers"] == len(back.receipts.workers)


def test_a_worker_that_hangs_is_named_and_the_flip_is_made_all_the_same(yard: Yard) -> None:
    first, second = yard.register("1 {{question}}"), yard.register("2 {{question}}")
    flip(yard, first)
    flip(yard, second)
    worker = live_workers(presences(yard.parts.store))[0]
    impatient = replace(yard.parts, receipt_timeout=0.6)
    os.kill(int(worker.rsplit("-", 1)[1]), signal.SIGSTOP)
    try:
        done = rollback(impatient, yard.name, ANNA)
    finally:
        os.kill(int(worker.rsplit("-", 1)[1]), signal.SIGCONT)
    assert worker in {*done.receipts.missing, *done.receipts.died}
    assert yard.alias() == first
    wait_for(lambda: served(yard) == first)


def test_a_hand_on_the_alias_is_followed_and_recorded_by_the_follower(yard: Yard) -> None:
    first, second = yard.register("1 {{question}}"), yard.register("2 {{question}}")
    yard.seal(second)
    flip(yard, first)
    yard.parts.registry.set_alias(yard.name, "Production", second)
    wait_for(lambda: served(yard) == second)
    wait_for(lambda: yard.state.live["Production"].version == second)
    wait_for(lambda: yard.alias("Previous") == first)
    assert [record.type for record in history(yard.parts, yard.name)].count("observed_flip") == 1


def test_a_hand_that_moves_the_alias_to_an_unsealed_version_changes_nothing(yard: Yard) -> None:
    first, worse = yard.register("1 {{question}}"), yard.register("2 {{question}}")
    flip(yard, first)
    yard.parts.registry.set_alias(yard.name, "Production", worse)
    wait_for(lambda: history(yard.parts, yard.name)[-1].type == "observed_violation")
    refused = httpx.get(load(ClientSettings).api_url + "/releases", timeout=5).json()["refused"]
    assert worse in {row["version"] for row in refused if row["name"] == yard.name}
    assert served(yard) == first
    code, said = yard.run("reconcile", yard.name)
    assert (code, yard.alias()) == (0, first), said
