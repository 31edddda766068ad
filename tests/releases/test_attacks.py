"""Somebody who writes to MLflow or to the store, without a key of the gate: found, named, not followed, not served."""

import json
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlflow_project.adapters.evidence import scores_key
from mlflow_project.adapters.experiments import Experiments
from mlflow_project.adapters.mlflow_api import MlflowApi
from mlflow_project.adapters.releases import manifest_key, write_release
from mlflow_project.domain.answer import Answer, Case
from mlflow_project.domain.verdict import Scores, Verdict
from mlflow_project.errors import Refused, SealBroken
from mlflow_project.evaluation.run import Bench, evaluate
from mlflow_project.ledger import Draft
from mlflow_project.promotion.audit import verify
from mlflow_project.promotion.promote import promote, rollback
from mlflow_project.promotion.reconcile import reconcile
from mlflow_project.seal import keys
from mlflow_project.seal.seal import sign
from mlflow_project.seal.statement import statement_for
from mlflow_project.settings import RegistrySettings, SealSettings, load
from tests.releases.conftest import Yard
from tests.releases.test_watching import live, watcher

ANNA = "user:anna"


def wrong(yard: Yard) -> dict[str, str]:
    return {finding.check: finding.detail for finding in verify(yard.parts, yard.name) if not finding.ok}


def envelope_of(yard: Yard, version: int) -> Mapping[str, Any]:
    return yard.state.seals[version].envelope


def by_an_unknown_key(yard: Yard, version: int, folder: Path) -> Mapping[str, Any]:
    own = SealSettings(signing_key=folder / "own.pem", trusted_keys=folder / "own")
    keys.ensure_key(own)
    statement = statement_for(yard.release(version), Verdict("accepted", ()), "sha256:0", None, {}, {}, ANNA, "now")
    return sign(statement, keys.signing_key(own))


def of_another_prompt(yard: Yard, version: int, folder: Path) -> Mapping[str, Any]:
    other = replace(yard, name=f"{yard.name}-other")
    return envelope_of(other, other.sealed("2"))


def of_another_version_with_this_content(yard: Yard, version: int, folder: Path) -> Mapping[str, Any]:
    return envelope_of(yard, yard.sealed("2"))


def with_one_bit_flipped(yard: Yard, version: int, folder: Path) -> Mapping[str, Any]:
    good = dict(envelope_of(yard, 1))
    (signature,) = good["signatures"]
    changed = "A" if signature["sig"][0] != "A" else "B"
    return {**good, "signatures": [{**signature, "sig": changed + signature["sig"][1:]}]}


def of_nothing(yard: Yard, version: int, folder: Path) -> Mapping[str, Any]:
    return {"payload": "", "note": "trust me"}


FORGERIES = [
    by_an_unknown_key,
    of_another_prompt,
    of_another_version_with_this_content,
    with_one_bit_flipped,
    of_nothing,
]


@pytest.mark.parametrize("forged", FORGERIES)
def test_a_forged_seal_in_the_ledger_makes_nothing_live(
    yard: Yard, tmp_path: Path, forged: Callable[[Yard, int, Path], Mapping[str, Any]]
) -> None:
    first, second = yard.sealed("1"), yard.register("2")
    promote(yard.parts, yard.name, first, "Production", ANNA)
    release = yard.release(second)
    write_release(yard.parts.store, release)
    evidence = {"envelope": dict(forged(yard, second, tmp_path))}
    yard.parts.ledger.append(Draft("seal", "prompt", yard.name, ANNA, "", second, release.digest, evidence=evidence))
    with pytest.raises(SealBroken):
        promote(yard.parts, yard.name, second, "Production", ANNA)
    assert_a_hand_on_the_alias_is_not_followed(yard, first, second, tmp_path)


def assert_a_hand_on_the_alias_is_not_followed(yard: Yard, live_version: int, broken: int, folder: Path) -> None:
    yard.parts.registry.set_alias(yard.name, "Production", broken)
    follower = watcher(yard, folder / "serving")
    for _ in range(2):
        follower.look(hurry=True)
    assert live(follower).get(yard.name) in {live_version, None}, "a new host serves what it can verify"
    assert [(item.alias, item.version) for item in follower.current.refused] == [("Production", broken)]
    assert yard.state.live["Production"].version == live_version
    assert yard.state.violations == {"Production": broken}
    (correction,) = reconcile(yard.parts, yard.name, ANNA)
    assert (correction.now, correction.followed, yard.alias()) == (live_version, False, live_version)


def test_a_hand_on_the_alias_to_a_version_whose_manifest_was_changed_is_not_followed(
    yard: Yard, tmp_path: Path
) -> None:
    first, second = yard.sealed("1"), yard.sealed("2")
    promote(yard.parts, yard.name, first, "Production", ANNA)
    store, key = yard.parts.store, manifest_key(yard.release(second).digest)
    data = bytearray(store.get(store.settings.artifacts_bucket, key))
    data[len(data) // 2] ^= 1
    store.put(store.settings.artifacts_bucket, key, bytes(data))
    assert_a_hand_on_the_alias_is_not_followed(yard, first, second, tmp_path)


def test_a_seal_copied_without_its_protection_is_refused(yard: Yard) -> None:
    version = yard.register()
    record = yard.seal(version, protected=True)
    evidence = {**record.evidence, "protected": False}
    yard.parts.ledger.append(Draft("seal", "prompt", yard.name, ANNA, "", version, record.digest, evidence=evidence))
    with pytest.raises(SealBroken, match="disagree on whether it is protected"):
        promote(yard.parts, yard.name, version, "Production", ANNA)


def test_a_key_that_was_retired_before_a_seal_was_recorded_does_not_count_and_one_retired_later_does(
    yard: Yard, tmp_path: Path
) -> None:
    own = SealSettings(signing_key=tmp_path / "gate.pem", trusted_keys=tmp_path / "trusted")
    yard = replace(yard, parts=replace(yard.parts, seal=own))
    first, second = yard.sealed("1"), yard.register("2")
    promote(yard.parts, yard.name, first, "Production", ANNA)
    note = own.trusted_keys / f"{keys.ensure_key(own)}.retired"
    note.write_text(yard.state.live["Production"].since)
    yard.seal(second)
    assert wrong(yard) == {}
    with pytest.raises(SealBroken, match="retired"):
        promote(yard.parts, yard.name, second, "Production", ANNA)


@pytest.fixture
def scores(yard: Yard, tmp_path: Path) -> Scores:
    """Of version 1, by a real evaluation, and sealed."""

    @asynccontextmanager
    async def opened() -> Any:
        async def ask(case: Case) -> Answer:
            return Answer("yes", latency_ms=1.0)

        yield ask

    bench = Bench(Experiments(load(RegistrySettings)), yard.parts.store, tmp_path / "answers")
    version = yard.register("1")
    found = evaluate(yard.release(version), (Case("1", "Is it?", ("yes",)),), opened, bench)
    yard.seal(version, scores=found)
    promote(yard.parts, yard.name, version, "Production", ANNA)
    return found


def test_scores_edited_after_the_seal_are_found_in_mlflow_and_in_the_store(yard: Yard, scores: Scores) -> None:
    assert wrong(yard) == {}
    experiments, store = Experiments(load(RegistrySettings)), yard.parts.store
    run = experiments.get(scores.run or "")
    good = experiments.read(run, "scores.json")
    experiments.write(run, "scores.json", json.dumps({**json.loads(good), "errors": {"correct": 1}}).encode())
    assert "was edited in MLflow after the gate judged it" in wrong(yard)["scores"]
    experiments.write(run, "scores.json", good)
    store.put(store.settings.artifacts_bucket, scores_key(run.id), b"{}")
    assert wrong(yard) == {}, "the oldest version counts"


def test_a_run_deleted_in_mlflow_takes_no_evidence_away(yard: Yard, scores: Scores) -> None:
    MlflowApi(load(RegistrySettings)).send("POST", "2.0/mlflow/runs/delete", {"run_id": scores.run})
    assert wrong(yard) == {}


def test_what_somebody_without_a_key_writes_into_the_record_moves_to_no_unsealed_version(
    yard: Yard, tmp_path: Path
) -> None:
    """Intents, outcomes and approvals carry no signature (SECURITY.md): what they name must be sealed all the same."""
    first, second = yard.sealed("1"), yard.register("2")
    promote(yard.parts, yard.name, first, "Production", ANNA)
    digest = yard.release(second).digest
    write_release(yard.parts.store, yard.release(second))
    intent = yard.parts.ledger.append(
        Draft("intent", "prompt", yard.name, "key:root", "", second, digest, "Production", first)
    )
    yard.parts.ledger.append(
        Draft("flip", "prompt", yard.name, "key:root", "", second, digest, "Production", first, intent.serial)
    )
    yard.parts.registry.set_alias(yard.name, "Production", second)
    follower = watcher(yard, tmp_path)
    follower.look(hurry=True)
    assert yard.name not in live(follower)
    assert wrong(yard) == {"seal": "the ledger holds no seal for it"}
    assert rollback(yard.parts, yard.name, ANNA, "nobody sealed it").version == first
    with pytest.raises(Refused):
        rollback(yard.parts, yard.name, ANNA, to=second)
