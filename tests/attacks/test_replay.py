"""A replay that a policy demands cannot be invented by somebody who may write in MLflow, and not be borrowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from mlflow_project.adapters.experiments import Experiments, Run
from mlflow_project.adapters.object_store import ObjectStore, StoredObject
from mlflow_project.domain.release import Manifest, Message, ProviderChoice, Release
from mlflow_project.errors import SealBroken
from mlflow_project.evaluation.replay import demanded_replay
from mlflow_project.rules.canonical import manifest_digest
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

    def experiment(self, name: str) -> str:
        return name

    def find(self, experiment: str, tags: Mapping[str, str]) -> list[Run]:
        return [run for run in self.runs if tags.items() <= run.tags.items()]

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


def checks(written: Written, store: Store) -> tuple[Any, ...]:
    experiments = cast(Experiments, written)
    return demanded_replay(experiments, cast(ObjectStore, store), release(2), release(1), POLICY)[0]


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
    """The attacker may write in MLflow. He makes a run that looks like an accepted replay. The gate refuses it."""
    document = json.dumps({"verdict": {"outcome": "accepted", "reasons": []}}).encode()
    with pytest.raises(SealBroken, match="No replay of this stack made run forged"):
        checks(Written([forged()], {"replay.json": document}), Store())


def test_an_edited_replay_is_not_believed() -> None:
    """The attacker edits `replay.json` of a real replay in MLflow. The gate compares it with the store's copy."""
    with pytest.raises(SealBroken, match="is not what the replay wrote"):
        checks(Written([forged()], {"replay.json": b"better"}), Store({"forged": b"real"}))
