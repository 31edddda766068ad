"""A rollout on real servers: callers are divided by the ledger's shares, and no request fails on the way."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from mlflow_project.adapters.registry import Registry
from mlflow_project.domain.rollout import Plan, Rollout, arm_of
from mlflow_project.errors import PromotionConflict, Refused, Unavailable
from mlflow_project.parts import Parts
from mlflow_project.promotion.promote import promote, rollback
from mlflow_project.promotion.repair import repair
from mlflow_project.promotion.views import live
from mlflow_project.rollouts import changes
from mlflow_project.rollouts.smoke import Bodies
from mlflow_project.rollouts.start import start
from mlflow_project.rollouts.status import status
from mlflow_project.settings import ClientSettings
from mlflow_project.snapshot.folder import ServingFolder
from tests.conftest import RunningStack
from tests.serving.conftest import Host, Releases, until
from tests.serving.faults.conftest import Load
from tests.serving.faults.interposed import Interposed

SESSIONS = [f"session-{number}" for number in range(40)]
SMOKE: Bodies = ({"variables": {"question": "why?"}, "context": None},)
ANNA = "user:anna"


@pytest.fixture(scope="module")
def host(registry_server: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with two workers."""
    running = Host(tmp_path_factory.mktemp("host"), SWITCHYARD_API_WORKERS="2").start()
    until(lambda: len(running.workers()) == 2, "both workers are up")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def parts(released: Releases, host: Host) -> Parts:
    """The parts of a command on that host."""
    client = ClientSettings(api_url=f"http://127.0.0.1:{host.port}")
    return replace(released.parts, serving=ServingFolder(host.folder), client=client, receipt_timeout=20.0)


def own_name(name: str) -> str:
    """A name that no other test uses."""
    return f"{name}-{uuid4().hex[:8]}"


def promoted(released: Releases, parts: Parts, host: Host, name: str) -> None:
    """Version 1 is live, and version 2 is sealed against it."""
    first = released.seal(name, "one")
    promote(parts, name, 1, "Production", ANNA)
    released.seal(name, "two", champion=first)
    host.serves(name, 1)


def arms(host: Host, name: str) -> dict[str, tuple[str, str]]:
    """Arm and release by session, as the answers' headers say. Every worker answers some."""
    found = {}
    for session in SESSIONS:
        headers = host.ask(name, **{"X-Session-Id": session}).headers
        found[session] = (headers["X-Release-Arm"], headers["X-Release"])
    return found


def expected(rollout: Rollout) -> dict[str, tuple[str, str]]:
    chosen = {session: arm_of(rollout.salt, session, rollout.share) for session in SESSIONS}
    name = rollout.name
    return {session: (arm, f"{name}/{2 if arm == 'canary' else 1}") for session, arm in chosen.items()}


def test_a_rollout_goes_its_whole_way_under_load_and_no_request_fails(
    released: Releases, parts: Parts, host: Host
) -> None:
    name = own_name("rolled")
    promoted(released, parts, host, name)
    registry = released.registry

    def alias(of: str) -> int | None:
        entry = registry.entry(name)
        return entry.aliases.get(of) if entry is not None else None

    with Load(host, name) as callers:
        change = start(parts, name, 2, Plan((0.3, 0.6, 1.0)), ANNA, "a better prompt", smoke=SMOKE)
        assert (change.rollout.share, change.receipts.missing, alias("Canary")) == (0.3, (), 2)
        assert arms(host, name) == expected(change.rollout)

        with pytest.raises(PromotionConflict, match=f"user:anna is rolling out {name}/2"):
            start(parts, name, 2, Plan((0.5,)), "user:ben")
        for flip in (lambda: promote(parts, name, 2, "Production", "user:ben"), lambda: rollback(parts, name, "u")):
            with pytest.raises(PromotionConflict, match=f"rollout abort {name}"):
                flip()
        rows = {row.alias: row for row in live(parts) if row.name == name}
        canary = rows["Canary"]
        assert (canary.share, canary.how, canary.serving) == (0.3, "rollout at 30 %", canary.workers)
        registry.set_alias(name, "Canary", 1)  # a hand changes nothing
        registry.set_alias(name, "Production", 2)
        until(lambda: len([no for no in host.releases()["refused"] if no["name"] == name]) == 2, "both are refused")
        assert arms(host, name) == expected(change.rollout)
        registry.set_alias(name, "Production", 1)

        before = {session for session, (arm, _) in arms(host, name).items() if arm == "canary"}
        change = changes.step(parts, name, changes.Order(ANNA))
        after = {session for session, (arm, _) in arms(host, name).items() if arm == "canary"}
        assert (change.rollout.share, change.receipts.missing, before < after) == (0.6, (), True)
        changes.hold(parts, name, changes.Order(ANNA, "lunch"))
        with pytest.raises(Refused, match="lunch"):
            changes.step(parts, name, changes.Order(ANNA))
        assert status(parts, name)["rollout"]["missing"] == []

        aborted = changes.abort(parts, name, changes.Order(ANNA, "too long"))
        assert (aborted.receipts.missing, alias("Canary")) == ((), None)
        assert set(arms(host, name).values()) == {("production", f"{name}/1")}
        assert status(parts, name)["last"]["why"] == "too long"

        start(parts, name, 2, Plan((0.1, 1.0), unit="request"), ANNA)
        finished = changes.step(parts, name, changes.Order(ANNA))
        assert (finished.how, finished.receipts.missing) == ("finish", ())
        assert set(arms(host, name).values()) == {("production", f"{name}/2")}
        assert (alias("Production"), alias("Previous"), alias("Canary")) == (2, 1, None)
    assert callers.failures == []
    assert callers.releases == {f"{name}/1", f"{name}/2"}
    kinds = Counter(record.type for record in parts.ledger.records() if record.name == name)
    assert {kind: kinds[kind] for kind in ("rollout", "step", "hold", "abort", "finish")} == {
        "rollout": 2,
        "step": 3,
        "hold": 1,
        "abort": 1,
        "finish": 1,
    }


def test_all_traffic_moves_at_once_only_after_every_worker_is_warm_and_the_questions_are_answered(
    released: Releases, parts: Parts, host: Host
) -> None:
    name = own_name("blue-green")
    promoted(released, parts, host, name)
    wrong: Bodies = ({"variables": {"no_such": "variable"}, "context": None},)
    with pytest.raises(Refused, match="failed smoke question 1 of 1: HTTP 422"):
        start(parts, name, 2, Plan((1.0,)), ANNA, smoke=wrong)
    state = parts.ledger.state().of(name)
    assert (state.rollout, state.live["Production"].version) == (None, 1)
    change = start(parts, name, 2, Plan((1.0,)), ANNA, smoke=SMOKE)
    assert (change.how, len(change.receipts.milliseconds)) == ("finish", len(change.receipts.workers))
    assert host.ask(name).headers["X-Release"] == f"{name}/2"
    back = rollback(parts, name, ANNA, "worse")
    assert (back.version, back.receipts.missing) == (1, ())


@pytest.mark.long
def test_a_killed_follower_or_worker_costs_no_share_and_both_catch_up(
    released: Releases, parts: Parts, host: Host
) -> None:
    name = own_name("killed")
    promoted(released, parts, host, name)
    hasty = replace(parts, receipt_timeout=1.0)
    rollout = start(parts, name, 2, Plan((0.3, 0.6, 0.9)), ANNA).rollout
    assert host.follower is not None
    host.follower.kill()
    host.follower.wait()
    for pid in host.workers()[:1]:
        psutil.Process(pid).kill()
    until(lambda: len(host.workers()) == 2, "a new worker is up")
    late = changes.step(hasty, name, changes.Order(ANNA))
    assert len(late.receipts.missing) == 2
    assert arms_again(host, name) == expected(rollout)
    host.start_follower()
    until(lambda: arms_again(host, name) == expected(late.rollout), "the shares are those of the ledger")
    assert host.follower is not None
    host.follower.kill()
    host.follower.wait()
    changes.abort(hasty, name, changes.Order(ANNA))
    host.start_follower()
    until(lambda: {arm for arm, _ in arms_again(host, name).values()} == {"production"}, "nobody is on the canary")


@pytest.mark.long
def test_without_mlflow_or_minio_shares_stay_steps_wait_and_an_abort_needs_minio_alone(
    released: Releases, registry_server: RunningStack, tmp_path: Path
) -> None:
    name = own_name("outage")
    with (
        Interposed(os.environ["SWITCHYARD_MLFLOW_URI"]) as mlflow,
        Interposed(os.environ["SWITCHYARD_S3_ENDPOINT"]) as s3,
    ):
        host = Host(tmp_path / "host", SWITCHYARD_MLFLOW_URI=mlflow.url, SWITCHYARD_S3_ENDPOINT=s3.url).start()
        try:
            parts = replace(released.parts, serving=ServingFolder(host.folder), receipt_timeout=20.0)
            registry = Registry(released.registry.settings.model_copy(update={"mlflow_uri": mlflow.url}))
            behind = replace(parts, registry=registry, receipt_timeout=5.0)
            promoted(released, parts, host, name)
            rollout = start(parts, name, 2, Plan((0.3, 0.6, 0.9)), ANNA).rollout
            mlflow.spoilt = s3.spoilt = "drop"
            time.sleep(2)
            assert arms_again(host, name) == expected(rollout)
            with pytest.raises(Unavailable):
                changes.step(behind, name, changes.Order(ANNA))
            assert parts.ledger.state().of(name).rollout == rollout
            s3.spoilt = None
            aborted = changes.abort(behind, name, changes.Order(ANNA))
            assert aborted.receipts.missing == ()
            assert {arm for arm, _ in arms_again(host, name).values()} == {"production"}
            mlflow.spoilt = None
            assert [each.outcome for each in repair(parts, ANNA) if each.name == name] == ["removed"]
        finally:
            host.stop()


def arms_again(host: Host, name: str) -> dict[str, tuple[str, str]]:
    """The arms as new connections see them: a killed worker has closed the old ones."""
    host.http.close()
    host.http = httpx.Client(base_url=f"http://127.0.0.1:{host.port}", timeout=10)
    return arms(host, name)
