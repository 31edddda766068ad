"""The gate judges statistics that are no mean of cases: F1, PR-AUC, calibration error, RMSE."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.metrics import average_precision_score, f1_score

from mlflow_project.domain.release import Manifest, ModelFile
from mlflow_project.domain.verdict import Scores, Verdict
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation.policies import load_policy
from mlflow_project.rules.content import manifest_of, model_tags
from mlflow_project.rules.gate import statistics
from mlflow_project.rules.gate.contract import check_contract
from mlflow_project.rules.gate.decide import decide
from mlflow_project.rules.gate.policy import policy_from
from mlflow_project.rules.mlmodel import describe
from tests.conftest import ROOT
from tests.unit.test_content import Version

N = 600
RANDOM = np.random.default_rng(11)
ACTUAL = (RANDOM.random(N) < 0.3).astype(float)


def classifier(noise: float, seed: int, label: str = "fraud/2", ties: bool = False) -> Scores:
    """A classifier whose probabilities follow the truth with this much noise."""
    noisy = ACTUAL + np.random.default_rng(seed).normal(0, noise, N)
    probability = 1 / (1 + np.exp(-6 * (noisy - 0.5)))
    probability = np.round(probability, 1) if ties else probability
    predicted = (probability >= 0.5).astype(float)
    columns = {
        "actual": ACTUAL,
        "predicted": predicted,
        "correct": predicted == ACTUAL,
        "probability": probability,
        "confidence": np.maximum(probability, 1 - probability),
    }
    return scored(label, columns)


def scored(label: str, columns: dict[str, Any]) -> Scores:
    tags = tuple(("shop=a",) if number % 2 else ("shop=b",) for number in range(N))
    metrics = {name: tuple(map(float, values)) for name, values in columns.items()}
    return Scores(label, f"digest of {label}", "rows", tuple(map(str, range(N))), metrics, {}, tags)


def judged(candidate: Scores, champion: Scores | None, metrics: dict[str, Any], **policy: Any) -> Verdict:
    return decide(candidate, champion, policy_from({"metrics": metrics, "min_cases": 100, **policy}))


@pytest.mark.parametrize("ties", [False, True])
def test_the_statistics_are_those_of_scikit_learn(ties: bool) -> None:
    scores = classifier(0.4, 1, ties=ties)
    columns = scores.metrics
    expected = {
        "f1": f1_score(columns["actual"], columns["predicted"]),
        "pr_auc": average_precision_score(columns["actual"], columns["probability"]),
    }
    for name, value in expected.items():
        assert statistics.value(scores, name) == (pytest.approx(value, abs=1e-12), N)


def test_a_weighted_statistic_is_that_of_the_repeated_cases() -> None:
    scores = classifier(0.4, 2, ties=True)
    weights = np.random.default_rng(3).multinomial(N, np.full(N, 1 / N)).astype(float)
    for columns, statistic in statistics.STATISTICS.values():
        values = {name: np.array(scores.metrics.get(name, scores.metrics["confidence"])) for name in columns}
        repeated = {name: np.repeat(column, weights.astype(int)) for name, column in values.items()}
        whole = statistic(repeated, np.ones((1, N)))
        assert statistic(values, weights[None, :]) == pytest.approx(whole)


@pytest.mark.parametrize("metric", ["f1", "pr_auc"])
def test_a_clear_gain_is_superior_and_a_clear_loss_is_rejected(metric: str) -> None:
    good, bad = classifier(0.2, 4), classifier(0.8, 5, "fraud/1")
    rule = {metric: {"direction": "higher", "floor": 0.3, "rule": "superior"}}
    assert judged(good, bad, rule).accepted
    assert judged(bad, good, rule).outcome == "rejected"
    harmless = {metric: {"direction": "higher", "floor": 0.3, "rule": "non_inferior", "margin": 0.05}}
    assert judged(bad, good, harmless).outcome == "rejected"
    assert judged(good, good, harmless).accepted


def test_calibration_error_and_rmse_are_better_when_lower() -> None:
    rule = {"direction": "lower", "rule": "non_inferior", "margin": 0.02}
    floor = {"correct": {"direction": "higher", "floor": 0.5}}
    sure = classifier(0.3, 6)
    doubtful = scored("fraud/1", {**dict(sure.metrics), "confidence": np.full(N, 0.55)})
    assert judged(doubtful, sure, {**floor, "calibration_error": rule}).outcome == "rejected"
    assert judged(sure, doubtful, {**floor, "calibration_error": rule}).accepted
    errors = np.random.default_rng(8).normal(0, 1, N) ** 2
    close, far = scored("price/2", {"squared_error": errors}), scored("price/1", {"squared_error": errors * 2})
    rmse = {"rmse": {"direction": "lower", "rule": "superior"}}
    assert judged(close, far, rmse, caps={"rmse": {"mean": 2}}).accepted
    assert judged(far, close, rmse, caps={"rmse": {"mean": 2}}).outcome == "rejected"
    assert judged(close, None, rmse, caps={"rmse": {"mean": 0.5}}).outcome == "rejected"


def test_a_guard_watches_a_statistic_on_a_slice() -> None:
    champion = classifier(0.25, 9, "fraud/1")
    broken = [value if number % 2 else 0.0 for number, value in enumerate(champion.metrics["predicted"])]
    candidate = scored("fraud/2", {**dict(champion.metrics), "predicted": broken})
    metrics = {"f1": {"direction": "higher", "floor": 0.1}}
    verdict = judged(candidate, champion, metrics, guards=[{"tag": "shop=b", "metric": "f1", "drop": 0.05}])
    assert verdict.outcome == "rejected"
    assert judged(candidate, champion, metrics, guards=[{"tag": "shop=a", "metric": "f1", "drop": 0.05}]).accepted


def test_a_statistic_without_its_columns_is_refused() -> None:
    scores = scored("fraud/2", {"correct": ACTUAL})
    verdict = judged(scores, None, {"f1": {"direction": "higher", "floor": 0.1}})
    assert verdict.outcome == "rejected"
    assert "actual of fraud/2 is missing" in verdict.reasons[0]


def test_caps_on_latency_and_size_reject_a_model_that_is_slow_or_large() -> None:
    columns = dict(classifier(0.25, 9).metrics)
    metrics = {"f1": {"direction": "higher", "floor": 0.1}}
    caps = {"latency_ms": {"p95": 250}, "size_mb": {"max": 50}}
    for latency, size, capped in ((10, 2, ""), (251, 2, "latency_ms"), (10, 51, "size_mb")):
        scores = scored("fraud/2", {**columns, "latency_ms": np.full(N, latency), "size_mb": np.full(N, size)})
        verdict = judged(scores, None, metrics, caps=caps)
        assert verdict.accepted is not bool(capped)
        assert not capped or any(reason.startswith(capped) for reason in verdict.reasons)


def test_another_contract_is_refused_unless_the_policy_says_that_it_is_a_new_one() -> None:
    def manifest(*required: str) -> Manifest:
        inputs = [{"type": "double", "name": name, "required": True} for name in required]
        signature = {"inputs": json.dumps(inputs), "outputs": None, "params": None}
        flavors = {
            "sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"},
            "python_function": {"loader_module": "mlflow.sklearn"},
        }
        described = describe(yaml.safe_dump({"flavors": flavors, "signature": signature}).encode(), {}, "fraud/1")
        files = [ModelFile("MLmodel", "sha256:1", 5)]
        return manifest_of(Version(None, model_tags(files, described), kind="model", source="s"))

    metrics = {"f1": {"direction": "higher", "floor": 0.1}}
    for allowed in (False, True):
        policy = policy_from({"metrics": metrics, "new_contract": allowed})
        (check,) = check_contract(manifest("amount", "shop"), manifest("amount"), policy)
        assert check.holds is allowed
        assert "shop" in check.reason
        assert "new_contract" in check.reason or "new contract" in check.reason


def test_a_policy_of_a_model_says_what_may_be_loaded() -> None:
    metrics = {"f1": {"direction": "higher", "floor": 0.1}}
    policy = policy_from({"metrics": metrics, "loading": {"formats": ["pickle"], "trusted_types": ["a.B"]}})
    assert (policy.loading.formats, policy.loading.trusted_types) == (("pickle",), ("a.B",))
    with pytest.raises(InvalidData, match=r"(?s)its only cap is `mean`.*loading.formats must be a list"):
        policy_from({"metrics": metrics, "loading": {"formats": "pickle"}, "caps": {"f1": {"p95": 1}}})


@pytest.mark.parametrize("file", sorted((ROOT / "models").glob("*/policy.yaml")), ids=lambda file: file.parent.name)
def test_the_policies_beside_the_models_are_valid(file: Path) -> None:
    policy = load_policy(file)
    assert any(rule.floor is not None for rule in policy.metrics)
    known = {*statistics.STATISTICS, "correct", "failed", "latency_ms", "size_mb", "absolute_error", "squared_error"}
    assert {rule.metric for rule in policy.metrics} | {cap.metric for cap in policy.caps} <= known
