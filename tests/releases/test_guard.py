"""The guard on a real ledger, store and registry: what it does to rollouts and promotions, and what fences it.

No server runs here: the tests publish the counts that hosts would publish.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from mlflow_project.adapters.lease import Lease
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.release import Manifest, Message, ProviderChoice
from mlflow_project.domain.rollout import Plan
from mlflow_project.errors import PromotionConflict, Refused
from mlflow_project.guard.process import LEASE, Guard, lead
from mlflow_project.guard.words import words
from mlflow_project.promotion.promote import promote, rollback
from mlflow_project.rollouts.start import start
from mlflow_project.rules.content import content_of
from mlflow_project.snapshot.arm_counts import COUNTS_SCHEMA, ArmCounts, ArmKey, counts_to_list
from mlflow_project.telemetry.catalogue import GUARD_SHARE
from mlflow_project.telemetry.meters import Meters
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import running_provider
from tests.releases.conftest import Yard

ANNA = "user:anna"
POLICY = {"indicators": ["errors"], "bake": "1h"}


def publish(yard: Yard, counts: dict[ArmKey, tuple[int, int]]) -> None:
    """Requests and errors by arm, as a host publishes them."""
    rows = counts_to_list({arm: ArmCounts(n, errors, answered=n - errors) for arm, (n, errors) in counts.items()})
    data = {"schema": COUNTS_SCHEMA, "runs": {"run": rows}}
    store = yard.parts.store
    store.put(store.settings.coordination_bucket, "counts/host.json", json.dumps(data).encode())


def old(yard: Yard) -> ArmKey:
    return ArmKey(yard.name, 1, "production", 0)


def new(yard: Yard) -> ArmKey:
    return ArmKey(yard.name, 2, "production", 0)


def two_versions(yard: Yard) -> None:
    """Version 1 is live and has a past; version 2 is sealed with a guard."""
    yard.sealed()
    promote(yard.parts, yard.name, 1, "Production", ANNA)
    yard.seal(yard.register("two {{question}}"), guard=POLICY)
    publish(yard, {old(yard): (1000, 20)})


def look(yard: Yard, times: int = 1) -> None:
    """A guard takes the lead, looks, and ends."""
    with Lease(yard.parts.store, LEASE, ttl=10.0) as lease:
        guard = Guard(yard.parts, lease)
        for _ in range(times):
            guard.look()


def records(yard: Yard, kind: str) -> list[LedgerRecord]:
    return [each for each in yard.parts.ledger.records() if (each.name, each.type) == (yard.name, kind)]


def word(yard: Yard) -> dict[str, Any]:
    return words(yard.parts.store)[yard.name]


def test_a_promotion_that_harms_is_rolled_back_once_and_the_record_has_the_numbers(yard: Yard) -> None:
    meters = Meters()
    yard = replace(yard, parts=replace(yard.parts, meters=meters))
    two_versions(yard)
    promote(yard.parts, yard.name, 2, "Production", ANNA)
    look(yard)
    assert word(yard)["state"] == "inconclusive"
    code, said = yard.run("live")
    assert (code, f"about {word(yard)['missing']} requests are missing" in said) == (0, True)
    publish(yard, {old(yard): (1000, 20), new(yard): (100, 25)})
    look(yard, times=3)
    (record,) = records(yard, "rollback")
    assert (record.who, record.version, record.from_version, yard.alias()) == ("guard", 1, 2, 1)
    assert "errors 25.0% of 100 requests" in record.why
    evidence = records(yard, "intent")[-1].evidence["guard"]
    assert (evidence["answer"], evidence["indicators"][0]["rate"]) == ("harm", 0.25)
    assert word(yard)["state"] == "harm"
    assert [(each.labels["side"], round(each.value, 2)) for each in meters.now()[GUARD_SHARE]] == [
        ("before", 0.03),
        ("new", 0.25),
    ]


def test_a_rollout_is_taken_to_the_end_while_it_is_clear_and_not_a_step_without_traffic(yard: Yard) -> None:
    two_versions(yard)
    change = start(yard.parts, yard.name, 2, Plan((0.1, 1.0), 0.01, "request", POLICY), ANNA)
    canary, baseline = (ArmKey(yard.name, v, arm, change.rollout.id) for v, arm in ((2, "canary"), (1, "baseline")))
    look(yard, times=2)
    assert yard.state.rollout is not None
    assert "no traffic" in word(yard)["sentence"]
    with Lease(yard.parts.store, LEASE, ttl=10.0) as lease:
        guard = Guard(yard.parts, lease)
        for requests in (200, 400, 600):
            publish(yard, {old(yard): (1000, 20), canary: (requests, 0), baseline: (requests, 0)})
            guard.look()
    (record,) = records(yard, "finish")
    assert (record.who, record.evidence["guard"]["answer"], yard.alias()) == ("guard", "clear", 2)


def test_a_canary_that_harms_ends_the_rollout(yard: Yard) -> None:
    two_versions(yard)
    change = start(yard.parts, yard.name, 2, Plan((0.1, 1.0), 600.0, "request", POLICY), ANNA)
    canary, baseline = (ArmKey(yard.name, v, arm, change.rollout.id) for v, arm in ((2, "canary"), (1, "baseline")))
    publish(yard, {canary: (200, 50), baseline: (200, 8)})
    look(yard, times=2)
    (record,) = records(yard, "abort")
    assert (record.who, record.intent, yard.state.rollout) == ("guard", change.rollout.id, None)


def test_a_guard_without_the_lease_and_one_that_decided_on_an_older_state_do_nothing(yard: Yard) -> None:
    two_versions(yard)
    promote(yard.parts, yard.name, 2, "Production", ANNA)
    paused = Lease(yard.parts.store, LEASE, ttl=0.2)
    paused.acquire()
    time.sleep(0.3)
    with Lease(yard.parts.store, LEASE, ttl=10.0), pytest.raises(Refused, match="was lost"):
        Guard(yard.parts, paused).look()
    decided_on = yard.state.live["Production"].serial
    rollback(yard.parts, yard.name, "guard", "harm", 1, expected=decided_on)
    with pytest.raises(PromotionConflict, match="Something else is live"):
        rollback(yard.parts, yard.name, "guard", "harm", 1, expected=decided_on)


def test_the_second_of_two_guards_waits(yard: Yard) -> None:
    with Lease(yard.parts.store, LEASE, ttl=10.0):
        began = time.monotonic()
        lead(yard.parts, threading.Event())  # returns, because another one has the lease
        assert time.monotonic() - began < 5


def test_while_the_provider_of_the_old_release_fails_too_nothing_is_rolled_back(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_provider() as provider:
        provider.will(always=Behaviour(status=400))
        monkeypatch.setenv("LLM_API_URL", provider.openai_url)
        choice = ProviderChoice("openai", "m", {"tries": 1})
        for text in ("one {{question}}", "two {{question}}"):
            manifest = Manifest("prompt", yard.name, (Message("user", text),), choice)
            version = yard.parts.registry.create_prompt_version(yard.name, *content_of(manifest))
            yard.seal(version, guard=POLICY)
            publish(yard, {old(yard): (1000, 20)})
            promote(yard.parts, yard.name, version, "Production", ANNA)
        publish(yard, {old(yard): (1000, 20), new(yard): (100, 90)})
        look(yard, times=2)
        assert len(provider.requests) == 5
    assert (records(yard, "rollback"), word(yard)["state"]) == ([], "old_release_fails")
