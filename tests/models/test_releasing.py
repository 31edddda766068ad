"""A model version goes the way of a prompt version: described, evaluated, gated, sealed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlflow_project.adapters.model_files import file_key
from mlflow_project.adapters.releases import read_manifest
from mlflow_project.errors import InvalidData, Refused, SealBroken
from mlflow_project.follower.sealed import Fetcher
from mlflow_project.promotion.approve import diff
from mlflow_project.promotion.audit import verify
from mlflow_project.promotion.inventory import every_version, one_version
from mlflow_project.rules.gate.policy import policy_from
from mlflow_project.snapshot.folder import ServingFolder
from tests.models.conftest import FEATURES, POLICY, Models


def command(*arguments: str) -> Any:
    from mlflow_project.commands.main import build

    return CliRunner().invoke(build(), [*arguments, "--json"])


def test_a_version_is_described_by_its_files_and_signature(models: Models) -> None:
    first, second = models.register(), models.register((*FEATURES[:2],))
    shown = one_version(models.parts, models.name, first)
    assert [file["path"] for file in shown["manifest"]["files"]][:2] == ["MLmodel", "conda.yaml"]
    assert shown["manifest"]["model"]["format"] == "skops"
    assert "switchyard.files" not in models.parts.registry.version(models.name, first).tags, "looking writes nothing"
    assert {row.version: row.digest for row in every_version(models.parts, models.name)}[first] == shown["digest"]
    fields = {field for field, _, _ in diff(models.parts, models.name, first, second)}
    assert "model.signature.inputs[2].name" in fields
    assert models.release(first).digest == shown["digest"]
    assert "switchyard.files" in models.parts.registry.version(models.name, first).tags


def test_the_commands_evaluate_gate_and_seal_a_model(models: Models, tmp_path: Path) -> None:
    version = models.register()
    evaluated = command("evaluate", f"{models.name}/{version}")
    assert evaluated.exit_code == 0, evaluated.output
    metrics = json.loads(evaluated.stdout)["releases"][0]["metrics"]
    assert metrics["f1"] > 0.6
    assert {"pr_auc", "calibration_error", "latency_ms", "size_mb", "correct"} <= metrics.keys()
    assert "probability" not in metrics
    policy = tmp_path / "policy.yaml"
    policy.write_text(json.dumps(POLICY))
    gated = command("gate", f"{models.name}/{version}", "--policy", str(policy))
    assert gated.exit_code == 0, gated.output
    verdict = json.loads(gated.stdout)
    assert verdict["accepted"]
    assert verdict["cases_source"] == f"{models.table}@0"
    again = command("evaluate", f"{models.name}/{version}")
    assert json.loads(again.stdout)["releases"][0]["reused"]
    release = models.release(version)
    assert read_manifest(models.parts.store, release.digest) == release.manifest
    folder = ServingFolder(tmp_path / "serving")
    folder.prepare()
    fetcher = Fetcher(models.parts.store, folder, models.parts.seal.trusted_keys)
    seal = models.parts.ledger.state().names[models.name].seals[version]
    for _ in range(2):
        fetcher.fetch(models.name, seal, "Production")
        shutil.rmtree(folder.model_folder(release.digest))  # as a follower does when nobody needs it
    models.promote(version)
    found = {finding.check: finding for finding in verify(models.parts, models.name)}
    assert found["files"].ok, found["files"].detail
    assert [finding.detail for finding in found.values() if not finding.ok] == []


def test_a_candidate_is_compared_with_the_champion_and_its_contract(models: Models) -> None:
    good = models.register()
    models.seal(good)
    models.promote(good)
    same = models.judged(models.register(seed=2)).verdict
    assert same.accepted, same.reasons
    assert same.checks[0].reason == "signature: it accepts everything that the champion accepts"
    worse = models.judged(models.register(("hour",))).verdict
    assert worse.outcome == "rejected"
    assert any("f1" in reason for reason in worse.reasons)


def test_a_file_changed_in_mlflow_is_refused_by_evaluation_and_seal(models: Models) -> None:
    version = models.register()
    release = models.release(version)
    store, bucket = models.parts.store, models.parts.store.settings.models_bucket
    key = next(item.key for item in store.list(bucket, "mlflow/") if _is_of(release, item.key, models))
    data = bytearray(store.get(bucket, key))
    data[len(data) // 2] ^= 1
    store.put(bucket, key, bytes(data))
    with pytest.raises(SealBroken, match=r"model.skops of .* was changed"):
        models.evaluate(version)
    with pytest.raises(SealBroken, match=r"model.skops of .* was changed"):
        models.seal(version)
    assert version not in models.parts.ledger.state().of(models.name).seals


def test_tags_that_describe_another_model_than_its_files_are_refused(models: Models) -> None:
    version = models.register()
    described = models.release(version).manifest.to_dict()["model"]
    described["signature"]["inputs"][0]["required"] = False
    models.parts.registry.set_version_tag(models.name, version, "switchyard.model", json.dumps(described))
    with pytest.raises(SealBroken, match="do not describe what its file MLmodel says"):
        models.evaluate(version)
    with pytest.raises(SealBroken, match="do not describe what its file MLmodel says"):
        models.seal(version)


def test_pickle_is_evaluated_and_sealed_only_where_the_policy_says_so(models: Models) -> None:
    version = models.register(serialization_format="pickle")
    with pytest.raises(Refused, match="runs code of its author"):
        models.evaluate(version)
    allowed = policy_from({**POLICY, "loading": {"formats": ["pickle"]}})
    assert models.judged(version, allowed).verdict.accepted
    record = models.seal(version, allowed)
    from mlflow_project.seal.keys import load_trusted
    from mlflow_project.seal.seal import verify

    statement = verify(record.evidence["envelope"], load_trusted(models.parts.seal.trusted_keys), record.time)
    assert statement.loading == allowed.loading


def test_a_version_without_a_test_set_is_told_how_to_name_one(models: Models) -> None:
    version = models.register()
    found = models.parts.registry.version(models.name, version)
    assert found.source
    models.parts.registry.set_version_tag(models.name, version, "switchyard.test_version", "7")
    with pytest.raises(InvalidData, match="cannot be read"):
        models.evaluate(version)


def _is_of(release: Any, key: str, models: Models) -> bool:
    model_id = release.manifest.source.removeprefix("models:/")
    return model_id in key and key.endswith("model.skops")


def test_sealed_copies_lie_where_mlflow_cannot_write(models: Models) -> None:
    version = models.register()
    models.seal(version)
    release = models.release(version)
    settings = models.parts.store.settings
    assert settings.artifacts_bucket != settings.models_bucket
    assert models.parts.store.exists(settings.artifacts_bucket, file_key(release.digest, "model.skops"))
