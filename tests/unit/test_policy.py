"""A policy is read whole, or all of its mistakes are told at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.evaluation.policies import load_policy
from mlflow_project.rules.gate.data import DataRule
from mlflow_project.rules.gate.policy import policy_from
from mlflow_project.rules.scorers import FAILED, SCORERS

GOOD: dict[str, Any] = {
    "confidence": 0.95,
    "min_cases": 50,
    "metrics": {"correct": {"direction": "higher", "floor": 0.5, "rule": "non_inferior", "margin": 0.05}},
    "caps": {"latency_ms": {"p95": 500, "mean": 100}},
    "guards": [{"tag": "ledger", "metric": "correct", "drop": 0.1}],
    "protected": True,
}


def test_a_policy_is_read_with_all_its_parts() -> None:
    policy = policy_from(GOOD)
    assert (policy.confidence, policy.min_cases, policy.protected, policy.approval) == (0.95, 50, True, False)
    assert policy.rule_of("correct").margin == 0.05
    assert [(cap.statistic, cap.at_most) for cap in policy.caps] == [("p95", 500), ("mean", 100)]
    assert policy.guards[0].tag == "ledger"


def test_a_changed_policy_has_another_digest() -> None:
    assert policy_from(GOOD).digest != policy_from({**GOOD, "min_cases": 51}).digest


def test_all_mistakes_come_in_one_message() -> None:
    wrong = {
        "confidence": 2,
        "min_cases": 0,
        "metrics": {
            "a": {"direction": "up"},
            "b": {"direction": "higher", "rule": "non_inferior"},
            "c": {"direction": "lower", "floor": 1},
            "d": {"direction": "higher", "rule": "superior", "margin": 0.1},
            "e": 7,
        },
        "caps": {"latency_ms": {"median": 5}, "cost_usd": {"mean": "cheap"}},
        "guards": [{"tag": 3, "metric": "nothing", "drop": 0.1}],
        "protected": "yes",
        "colour": "blue",
    }
    with pytest.raises(InvalidData) as caught:
        policy_from(wrong, "policy.yaml")
    for said in (
        "'colour' is not a key",
        "confidence must lie between",
        "min_cases must be",
        "metrics.a.direction",
        "metrics.b: non_inferior needs a margin",
        "metrics.c: a metric where lower is better takes a cap",
        "metrics.d: only non_inferior takes a margin",
        "metrics.e must be a mapping",
        "'median' is unknown",
        "caps.cost_usd: mean must be a number",
        "guards[1]: metric 'nothing'",
        "guards[1]: it needs a tag",
        "protected must be true or false",
    ):
        assert said in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [None, [], "text", {"metrics": []}, {"metrics": {}}, {**GOOD, "guards": 5}, {**GOOD, "caps": {1: {"mean": 2}}}],
)
def test_what_is_no_policy_is_refused_in_words(data: Any) -> None:
    with pytest.raises(InvalidData):
        policy_from(data)


def test_a_policy_without_any_floor_could_not_judge_a_first_version() -> None:
    with pytest.raises(InvalidData, match="no metric has a floor"):
        policy_from({"metrics": {"correct": {"direction": "higher", "rule": "superior"}}})


def test_a_missing_policy_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="--policy"):
        load_policy(tmp_path / "policy.yaml")


def test_a_policy_that_is_no_yaml_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("metrics: [")
    with pytest.raises(InvalidData, match="cannot be read"):
        load_policy(tmp_path / "policy.yaml")


def test_the_policies_of_the_repository_name_only_metrics_that_exist() -> None:
    files = sorted(Path(__file__).parents[2].glob("prompts/*/policy.yaml"))
    assert files
    for file in files:
        load_policy(file)
        data = yaml.safe_load(file.read_text())
        assert {*data["metrics"], *data["caps"]} <= {*SCORERS, FAILED}


def test_a_metric_that_stands_twice_is_a_mistake_and_not_overruled_in_silence(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("metrics:\n  a: {rule: superior}\n  a: {rule: report}\n")
    with pytest.raises(InvalidData, match="a stands twice"):
        load_policy(tmp_path / "policy.yaml")


def test_a_demand_on_the_texts_is_read_or_told_as_a_mistake() -> None:
    assert policy_from({**GOOD, "data": {"max_quarantine": "2.5 %"}}).data == DataRule(0.025, needs_profile=False)
    assert policy_from({**GOOD, "data": {"profile": "required"}}).data == DataRule(None, needs_profile=True)
    assert policy_from(GOOD).data is None
    for wrong, said in (
        ({}, "data must be a mapping with max_quarantine, profile, or both"),
        (None, "data must be a mapping"),
        ({"max_quarantine": 2}, "such as 2%, not 2"),
        ({"max_quarantine": "101%"}, "from 0% to 100%"),
        ({"profile": True}, "profile can only be `required`, not True"),
        ({"profiles": "required"}, "data: 'profiles' is unknown; known are max_quarantine, profile"),
    ):
        with pytest.raises(InvalidData, match=re.escape(said)):
            policy_from({**GOOD, "data": wrong})
