"""A replay that a policy demands cannot be invented by somebody who may write in MLflow, and not be borrowed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from mlflow_project.adapters.experiments import Experiments, Run
from mlflow_project.adapters.object_store import ObjectStore, StoredObject
from mlflow_project.domain.answer import Case
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.release import Manifest, Message, ProviderChoice, Release
from mlflow_project.domain.verdict import Scores
from mlflow_project.errors import SealBroken
from mlflow_project.evaluation.demanded_replay import demanded_replay
from mlflow_project.evaluation.replay_records import earlier_outcomes, record_of, replays_of
from mlflow_project.rules.canonical import digest, manifest_digest
from mlflow_project.rules.gate.live import replay_checks
from mlflow_project.rules.gate.policy import policy_from
from mlflow_project.settings import StoreSettings

POLICY = policy_from(
    {
        "metrics": {"groundedness": {"direction": "higher", "floor": 0.5, "rule": "non_inferior", "margin": 0.05}},
        "replay": {"n": 300, "non_inferior": "groundedness"},
    }
)


def release(version: int) -> Release:
    manifest = Manifest(
        "prompt", "qa", (Message("user", f"{version} {{{{question}}}}"),), ProviderChoice("openai", "m")
    )
    return Release(version, manifest_digest(manifest), manifest)


@dataclass
class Written:
    """What somebody has written into MLflow."""

    runs: list[Run] = field(default_factory=list)
    in_mlflow: dict[str, bytes] = field(default_factory=dict)

    def get(self, run: str) -> Run:
        return next(each for each in self.runs if each.id == run)

    def read(self, run: Run, path: str) -> bytes:
        return self.in_mlflow[path]


@dataclass
class Store:
    """The object store; `replays` are its copies of `replay.json` by run."""

    replays: dict[str, bytes] = field(default_factory=dict)
    settings: StoreSettings = field(default_factory=StoreSettings.model_construct)

    def versions(self, bucket: str, prefix: str = "") -> list[StoredObject]:
        run = prefix.split("/")[1]
        return [StoredObject(prefix, 1, "", "v1")] if run in self.replays else []

    def get(self, bucket: str, key: str, version_id: str | None = None) -> bytes:
        return self.replays[key.split("/")[1]]


def checks(written: Written, store: Store, *records: LedgerRecord) -> tuple[Any, ...]:
    experiments = cast(Experiments, written)
    return demanded_replay(experiments, cast(ObjectStore, store), records, release(2), release(1), POLICY)[0]


def record(run: str, document: bytes, *, serial: int = 1, version: int = 2, outcome: str = "rejected") -> LedgerRecord:
    """The ledger's record of a replay of some questions of its own."""
    case = Case(str(serial), f"question {serial}")
    draft = record_of(release(version), release(1), [case], run, digest(document), outcome, "user:eve")
    return LedgerRecord(serial, "", "", "2026-11-30T10:00:00.000Z", **vars(draft))


def forged() -> Run:
    """A run with every tag of a replay that was accepted."""
    tags = {
        "switchyard.digest": release(2).digest,
        "switchyard.version": "2",
        "switchyard.replay_against": release(1).digest,
        "switchyard.replay": "complete",
        "switchyard.verdict": "accepted",
    }
    return Run("forged", "replay-qa", "mlflow-artifacts:/forged", "FINISHED", tags, 0)


def test_without_a_replay_the_gate_stays_undecided_and_says_what_to_type() -> None:
    (check,) = checks(Written(), Store())
    assert check.holds is None
    assert "run `switchyard replay qa --version 2 --n 300`" in check.reason


def test_a_run_with_the_tags_of_a_replay_is_not_believed() -> None:
    """The attacker may write in MLflow. He makes a run that looks like an accepted replay. The ledger has no record of
    it, so the gate does not see it."""
    document = json.dumps({"verdict": {"outcome": "accepted", "reasons": []}}).encode()
    (check,) = checks(Written([forged()], {"replay.json": document}), Store())
    assert "there is none of qa/2" in check.reason


def test_a_replay_that_the_store_does_not_have_is_not_believed() -> None:
    """The attacker may append to the ledger, and invents a replay. The store has no copy of its file."""
    with pytest.raises(SealBroken, match="of run forged is gone"):
        checks(Written([forged()], {}), Store(), record("forged", b"{}"))


def test_a_replay_that_failed_cannot_be_hidden_behind_an_older_one() -> None:
    """The attacker's first replay passed by chance, the second one failed. He deletes the second one's run in MLflow.
    The ledger's newest record counts all the same."""
    records = [record("first", b"1", outcome="accepted"), record("second", b"2", serial=2)]
    with pytest.raises(SealBroken, match="of run second is gone"):
        checks(Written([], {}), Store({"first": b"1"}), *records)


def test_who_replays_until_one_passes_is_judged_more_strictly_each_time() -> None:
    """The attacker replays a candidate again and again on other questions, and registers its text as a new version. All
    replays of this content against this champion count, those of another candidate on other questions do not."""
    records = [record(str(n), b"", serial=n, version=2 if n % 2 else 3) for n in range(1, 7)]
    replays = replays_of([*records, replace(records[0], serial=7, version=9)], "qa")
    assert earlier_outcomes(replays, release(2), release(1), "sha256:new", ()) == [False] * 4
    same_questions = replays[1]
    assert len(earlier_outcomes(replays, release(5), release(1), same_questions.cases_digest, ())) == 1
    units = Scores("qa/2", "", "", ("1", "2"), {"groundedness": (0.9, 0.8)})
    first, tenth = (replay_checks(units, units, POLICY, 300, [False] * before)[0].reason for before in (0, 9))
    assert "it is replay" not in first
    assert "it is replay 10 of these releases" in tenth
    assert "so its tests have 99.97 % confidence" in tenth


def test_an_edited_replay_is_not_believed() -> None:
    """The attacker edits `replay.json` of a real replay in MLflow. The gate compares it with the store's copy."""
    with pytest.raises(SealBroken, match="is not what the replay wrote"):
        checks(Written([forged()], {"replay.json": b"better"}), Store({"forged": b"real"}), record("forged", b"real"))
