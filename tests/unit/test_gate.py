"""The gate accepts what is shown, refuses what is shown not to be, and says when these cases cannot decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from mlflow_project.domain.verdict import Scores, Verdict
from mlflow_project.errors import InvalidData
from mlflow_project.rules.gate.decide import decide
from mlflow_project.rules.gate.policy import policy_from
from mlflow_project.rules.gate.reasons import detectable

N = 200
NON_INFERIOR = {"correct": {"direction": "higher", "floor": 0.5, "rule": "non_inferior", "margin": 0.05}}
SUPERIOR = {"correct": {"direction": "higher", "floor": 0.5, "rule": "superior"}}


def right(count: int, first: int = 0) -> list[float | None]:
    """`count` right answers of N, beginning at case `first`."""
    return [float(first <= number < first + count) for number in range(N)]


def scored(label: str = "qa/2", **metrics: Sequence[float | None]) -> Scores:
    size = len(next(iter(metrics.values())))
    tags = tuple(("rare",) if number < size // 5 else () for number in range(size))
    ids = tuple(str(number) for number in range(size))
    return Scores(label, f"digest of {label}", "cases", ids, {k: tuple(v) for k, v in metrics.items()}, {}, tags)


def judged(candidate: Scores, champion: Scores | None, metrics: dict[str, Any], **policy: Any) -> Verdict:
    return decide(candidate, champion, policy_from({"metrics": metrics, "min_cases": 30, **policy}))


def test_without_a_champion_the_floors_decide() -> None:
    assert judged(scored(correct=right(120)), None, NON_INFERIOR).accepted
    refused = judged(scored(correct=right(90)), None, NON_INFERIOR)
    assert refused.outcome == "rejected"
    assert refused.reasons == ("correct 0.450 is below its floor 0.500",)


def test_gate_rejects_when_groundedness_drops() -> None:
    metrics = {"groundedness": {"direction": "higher", "floor": 0.5, "rule": "non_inferior", "margin": 0.02}}
    champion = scored("qa/1", groundedness=[0.9 + 0.1 * (number % 2) for number in range(N)])
    candidate = scored(groundedness=[0.7 + 0.1 * (number % 3) for number in range(N)])
    verdict = judged(candidate, champion, metrics)
    assert verdict.outcome == "rejected"
    assert "groundedness 0.799 against the champion's 0.950" in verdict.reasons[0]
    assert "worse, by more than the margin 0.020" in verdict.reasons[0]


def test_identical_scores_are_not_inferior_and_not_superior() -> None:
    for values in (right(150), right(150)[:40], [0.1 * (number % 7) + 0.3 for number in range(N)]):
        candidate, champion = scored(correct=values), scored("qa/1", correct=values)
        assert judged(candidate, champion, NON_INFERIOR).accepted
        assert judged(candidate, champion, SUPERIOR).outcome == "rejected"


def test_a_clear_gain_is_superior() -> None:
    verdict = judged(scored(correct=right(150)), scored("qa/1", correct=right(120)), SUPERIOR)
    assert verdict.accepted
    assert verdict.checks[1].p_value is not None
    assert verdict.checks[1].p_value < 1e-8


def test_a_gain_that_chance_explains_is_inconclusive_and_says_how_many_more_cases() -> None:
    champion = scored("qa/1", correct=right(120))
    candidate = scored(correct=right(123, first=1))
    verdict = judged(candidate, champion, SUPERIOR)
    assert verdict.outcome == "inconclusive"
    check = verdict.checks[1]
    assert check.holds is None
    assert check.cases_needed is not None
    assert check.cases_needed > N
    assert f"about {check.cases_needed - N} more would decide" in verdict.reasons[0]
    assert f"{N} cases show an effect of" in verdict.reasons[0]


def test_a_small_loss_that_could_be_large_is_inconclusive() -> None:
    verdict = judged(scored(correct=right(115, first=10)), scored("qa/1", correct=right(120)), NON_INFERIOR)
    assert verdict.outcome == "inconclusive"
    assert "a loss of 0.050 is not ruled out" in verdict.reasons[0]


def test_a_proven_loss_within_the_margin_is_harmless() -> None:
    wide = {"correct": {**NON_INFERIOR["correct"], "margin": 0.1}}
    verdict = judged(scored(correct=right(145)), scored("qa/1", correct=right(150)), wide)
    assert verdict.accepted
    assert (verdict.checks[1].upper or 0) < 0.01


def test_all_deciding_metrics_must_hold() -> None:
    metrics = {**NON_INFERIOR, "token_f1": {"direction": "higher", "rule": "superior"}}
    champion = scored("qa/1", correct=right(120), token_f1=[0.5] * N)
    both = scored(correct=right(140), token_f1=[0.5 + 0.01 * (number % 5) for number in range(N)])
    one = scored(correct=right(140), token_f1=[0.5] * N)
    assert judged(both, champion, metrics).accepted
    assert judged(one, champion, metrics).outcome == "rejected"


def test_a_reported_metric_decides_nothing() -> None:
    metrics = {**NON_INFERIOR, "token_f1": {"direction": "higher", "rule": "report"}}
    champion = scored("qa/1", correct=right(120), token_f1=[0.9] * N)
    assert judged(scored(correct=right(120), token_f1=[0.1] * N), champion, metrics).accepted


def test_lower_is_better_where_the_policy_says_so() -> None:
    metrics = {**NON_INFERIOR, "latency_ms": {"direction": "lower", "rule": "superior"}}
    slow = [20.0 + number % 5 for number in range(N)]
    fast = [10.0 + number % 7 for number in range(N)]
    champion = scored("qa/1", correct=right(120), latency_ms=slow)
    assert judged(scored(correct=right(120), latency_ms=fast), champion, metrics).accepted
    swapped = judged(replace(champion, label="qa/3"), scored(correct=right(120), latency_ms=fast), metrics)
    assert swapped.outcome == "rejected"


@pytest.mark.parametrize("values", [[None] * N, [float("nan")] * N, [float("inf")] + [1.0] * (N - 1)])
def test_a_missing_or_non_finite_metric_refuses(values: list[float | None]) -> None:
    verdict = judged(scored(correct=values), scored("qa/1", correct=right(120)), NON_INFERIOR)
    assert verdict.outcome == "rejected"
    assert "evaluate" in verdict.reasons[0]


def test_a_metric_that_was_never_computed_refuses() -> None:
    assert judged(scored(other=right(150)), None, NON_INFERIOR).outcome == "rejected"


@pytest.mark.parametrize("rule", ["report", "superior"])
def test_a_scorer_that_raised_makes_the_gate_refuse(rule: str) -> None:
    metrics = {**NON_INFERIOR, "token_f1": {"direction": "higher", "rule": rule}}
    broken = replace(scored(correct=right(150), token_f1=[1.0] * N), errors={"token_f1": 3})
    verdict = judged(broken, scored("qa/1", correct=right(120), token_f1=[0.5] * N), metrics)
    assert verdict.outcome == "rejected"
    assert "its scorer failed on 3 case(s)" in verdict.reasons[0]


def test_a_reported_metric_that_nothing_was_scored_on_is_no_obstacle() -> None:
    metrics = {**NON_INFERIOR, "cost_usd": {"direction": "lower", "rule": "report"}}
    values = {"correct": right(150), "cost_usd": [None] * N}
    assert judged(scored(**values), scored("qa/1", **values), metrics).accepted


@pytest.mark.parametrize("values", [{}, {"cost_usd": [float("inf")] * N}])
def test_a_reported_metric_that_nobody_computed_or_that_is_not_finite_refuses(values: dict[str, Any]) -> None:
    metrics = {**NON_INFERIOR, "cost_usd": {"direction": "lower", "rule": "report"}}
    both = {"correct": right(150), **values}
    assert judged(scored(**both), scored("qa/1", **both), metrics).outcome == "rejected"


def test_cases_without_an_answer_refuse_unless_the_policy_allows_for_them() -> None:
    lost = [None] * 3 + right(150)[3:]
    candidate = scored(correct=lost, failed=[1.0] * 3 + [0.0] * (N - 3))
    verdict = judged(candidate, None, NON_INFERIOR)
    assert verdict.outcome == "rejected"
    assert "3 of 200 cases got no answer" in verdict.reasons[0]
    assert judged(candidate, None, NON_INFERIOR, caps={"failed": {"mean": 0.02}}).accepted


def test_unscored_cases_are_left_out_and_never_count_as_zero() -> None:
    half = [1.0 if number % 2 else None for number in range(N)]
    verdict = judged(scored(correct=half), scored("qa/1", correct=[1.0] * N), NON_INFERIOR)
    assert verdict.accepted
    assert verdict.checks[1].candidate == 1.0


def test_too_few_scored_cases_are_inconclusive() -> None:
    few = [1.0 if number < 20 else None for number in range(N)]
    verdict = judged(scored(correct=few), scored("qa/1", correct=few), NON_INFERIOR)
    assert verdict.outcome == "inconclusive"
    assert "20 scored cases, the policy asks for 30; add 10 more" in verdict.reasons[0]


@pytest.mark.parametrize(("statistic", "most", "accepted"), [("mean", 6, True), ("p95", 9, False), ("max", 50, False)])
def test_a_cap_limits_mean_percentile_or_maximum(statistic: str, most: float, accepted: bool) -> None:
    latency = [5.0] * (N - 15) + [10.0] * 14 + [100.0]
    verdict = judged(
        scored(correct=right(120), latency_ms=latency), None, NON_INFERIOR, caps={"latency_ms": {statistic: most}}
    )
    assert verdict.accepted is accepted


def test_a_guard_refuses_a_tag_that_loses_what_the_rest_gains() -> None:
    champion = scored("qa/1", correct=right(100))
    candidate = scored(correct=right(140, first=20))
    guards = [{"tag": "rare", "metric": "correct", "drop": 0.1}]
    assert judged(candidate, champion, NON_INFERIOR).accepted
    verdict = judged(candidate, champion, NON_INFERIOR, guards=guards)
    assert verdict.outcome == "rejected"
    assert "40 cases of tag rare: 0.500 against the champion's 1.000" in verdict.reasons[0]


def test_a_guard_lets_chance_be_chance() -> None:
    champion = scored("qa/1", correct=right(100))
    guards = [{"tag": "rare", "metric": "correct", "drop": 0.01}]
    assert judged(scored(correct=right(120, first=1)), champion, NON_INFERIOR, guards=guards).accepted


def test_a_guard_for_a_tag_without_cases_refuses() -> None:
    guards = [{"tag": "none", "metric": "correct", "drop": 0.1}]
    same = scored("qa/1", correct=right(100))
    assert judged(scored(correct=right(100)), same, NON_INFERIOR, guards=guards).outcome == "rejected"


def test_scores_of_different_cases_are_not_compared() -> None:
    other = replace(scored("qa/1", correct=right(100)), cases_digest="others")
    with pytest.raises(InvalidData, match="evaluate both on the same"):
        judged(scored(correct=right(100)), other, NON_INFERIOR)


def test_the_same_scores_give_the_same_verdict_to_the_last_digit() -> None:
    metrics = {"token_f1": {"direction": "higher", "floor": 0.1, "rule": "non_inferior", "margin": 0.05}}
    champion = scored("qa/1", token_f1=[0.5 + 0.01 * (number % 11) for number in range(N)])
    candidate = scored(token_f1=[0.5 + 0.01 * (number % 13) for number in range(N)])
    first = judged(candidate, champion, metrics)
    assert first.to_dict() == judged(candidate, champion, metrics).to_dict()
    assert first.checks[1].lower != first.checks[1].upper


def test_one_scored_case_decides_nothing_by_the_bootstrap() -> None:
    metrics = {"token_f1": {"direction": "higher", "floor": 0.1, "rule": "non_inferior", "margin": 0.05}}
    verdict = judged(scored(token_f1=[0.5]), scored("qa/1", token_f1=[0.4]), metrics, min_cases=1)
    assert verdict.outcome == "inconclusive"


def test_every_test_states_the_smallest_effect_that_its_cases_show() -> None:
    verdict = judged(scored(correct=right(150)), scored("qa/1", correct=right(140)), NON_INFERIOR)
    shown = detectable(verdict.checks, verdict.cases)
    assert shown.startswith("The smallest effect that 200 cases show at 80 % power: correct 0.0")
    assert detectable(judged(scored(correct=right(150)), None, NON_INFERIOR).checks, N) == ""
