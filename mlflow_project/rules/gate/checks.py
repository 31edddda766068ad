"""The checks of a policy: floor, cap, rule against the champion, guard of a tag. Each returns one `Check`.

`Check.holds` is True if the check is shown to hold, False if it is shown not to hold or if the metric cannot be
trusted, and None if these cases cannot decide it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from mlflow_project.domain.verdict import Check, Scores
from mlflow_project.rules.gate import reasons, statistics
from mlflow_project.rules.gate.comparison import Comparison, compare_metric
from mlflow_project.rules.gate.means import cases_needed
from mlflow_project.rules.gate.policy import Cap, Guard, MetricRule, Policy
from mlflow_project.rules.scorers import FAILED


def check_floor(scores: Scores, rule: MetricRule, policy: Policy) -> Check:
    """The mean reaches the floor, on enough cases."""
    if trouble := _trouble(scores, rule.metric):
        return Check(rule.metric, "floor", False, trouble)
    (mean, count), floor = _mean_and_count(scores, rule.metric), rule.floor or 0.0
    if count < policy.min_cases:
        reason = reasons.too_few(rule.metric, count, policy.min_cases)
        return Check(rule.metric, "floor", None, reason, mean, cases_needed=policy.min_cases)
    return Check(rule.metric, "floor", mean >= floor, reasons.floor(rule.metric, mean, floor), mean)


def check_answered(scores: Scores) -> Check:
    """Every case got an answer. This applies unless the policy caps `failed`: the other metrics leave out the cases
    without an answer, and would hide them.
    """
    missing = sum(value != 0 for value in scores.metrics[FAILED])
    return Check(FAILED, "answered", missing == 0, reasons.unanswered(FAILED, missing, len(scores.case_ids)))


def check_cap(scores: Scores, cap: Cap) -> Check:
    """A statistic stays at or below its cap."""
    name = f"cap {cap.statistic}"
    if trouble := _trouble(scores, cap.metric):
        return Check(cap.metric, name, False, trouble)
    if cap.statistic == "mean":
        value, _ = _mean_and_count(scores, cap.metric)
    else:
        values = _scored(scores, cap.metric)
        value = float(np.percentile(values, 95) if cap.statistic == "p95" else np.max(values))
    return Check(cap.metric, name, value <= cap.at_most, reasons.cap(cap, value), value)


def check_rule(candidate: Scores, champion: Scores, rule: MetricRule, policy: Policy) -> Check:
    """The metric is superior, or non-inferior within the margin; or both means are only reported."""
    trouble = _trouble(candidate, rule.metric) or _trouble(champion, rule.metric)
    if trouble:
        harmless = rule.rule == "report" and _is_unscored_without_fault(candidate, champion, rule.metric)
        return Check(rule.metric, rule.rule, harmless, trouble)
    if rule.rule == "report":
        mean, other = (_mean_and_count(scores, rule.metric)[0] for scores in (candidate, champion))
        return Check(rule.metric, "report", True, reasons.report(rule.metric, mean, other), mean, other)
    compared = compare_metric(candidate, champion, rule, policy.confidence)
    count = 0 if compared is None else compared[0].pairs
    if compared is None or count < policy.min_cases:
        reason = reasons.too_few(rule.metric, count, policy.min_cases)
        return Check(rule.metric, rule.rule, None, reason, cases_needed=policy.min_cases)
    return _judged(rule, *compared, policy.confidence)


def check_guard(candidate: Scores, champion: Scores, guard: Guard, policy: Policy) -> Check:
    """The cases of a tag do not lose more than the guard allows, unless chance explains the loss. This is an alarm, not
    a proof of equality."""
    rule, name = policy.rule_of(guard.metric), f"guard {guard.tag}"
    trouble = _trouble(candidate, guard.metric) or _trouble(champion, guard.metric)
    compared = None
    if not trouble:
        compared = compare_metric(champion, candidate, replace(rule, margin=None), policy.confidence, guard.tag)
    count = compared[0].pairs if compared is not None else 0
    if not trouble and guard.min_cases > max(1, count):
        reason = reasons.too_few(f"{guard.metric} on tag {guard.tag}", count, guard.min_cases)
        return Check(guard.metric, name, None, reason, cases_needed=guard.min_cases)
    if compared is None:
        return Check(guard.metric, name, False, trouble or f"no case of tag {guard.tag} was scored on {guard.metric}")
    loss, other, mean = compared
    holds = not (loss.superior and loss.difference > guard.drop)
    return Check(guard.metric, name, holds, reasons.guard(guard, loss.pairs, mean, other, holds), mean, other)


def _judged(rule: MetricRule, found: Comparison, mean: float, other: float, confidence: float) -> Check:
    holds = _holds(rule, found)
    needed = None
    if holds is None:
        distance = found.difference + (rule.margin or 0.0)
        needed = cases_needed(distance, found.spread, confidence)
        needed = None if needed is None else max(needed, found.pairs + 1)
    return Check(
        rule.metric,
        rule.rule,
        holds,
        reasons.rule(rule, found, mean, other, holds, needed, confidence),
        candidate=mean,
        champion=other,
        lower=found.lower if math.isfinite(found.lower) else None,
        upper=found.upper if math.isfinite(found.upper) else None,
        p_value=found.p_value,
        detectable=found.detectable,
        cases_needed=needed,
    )


def _holds(rule: MetricRule, found: Comparison) -> bool | None:
    """Whether the rule is shown to hold, shown not to hold, or undecided (None). A loss is shown if it is at least the
    margin and not a chance result."""
    if rule.rule == "superior":
        return True if found.superior else None if found.difference > 0 else False
    margin = rule.margin or 0.0
    if found.non_inferior:
        return True
    return False if found.upper < 0 and found.difference <= -margin else None


def _trouble(scores: Scores, metric: str) -> str:
    """Why this metric cannot be trusted; empty if it can."""
    if statistics.is_statistic(metric):
        columns = statistics.columns_of(metric)
        return next((trouble for column in columns if (trouble := _trouble(scores, column))), "")
    values = scores.metrics.get(metric, ())
    if count := scores.errors.get(metric):
        return (
            f"{metric} of {scores.label} is incomplete: its scorer failed on {count} case(s); fix it and evaluate again"
        )
    if all(value is None for value in values):
        return f"{metric} of {scores.label} is missing: no case was scored on it; evaluate with a scorer of that name"
    if not all(math.isfinite(value) for value in values if value is not None):
        return f"{metric} of {scores.label} is not finite on some case; fix its scorer and evaluate again"
    return ""


def _is_unscored_without_fault(candidate: Scores, champion: Scores, metric: str) -> bool:
    """Whether the scorer ran on both without a fault and left one unscored, as it leaves the cost without prices."""
    both = (candidate, champion)
    ran = all(scores.metrics.get(metric) and not scores.errors.get(metric) for scores in both)
    values = [value for scores in both for value in scores.metrics.get(metric, ()) if value is not None]
    return ran and all(math.isfinite(value) for value in values)


def _scored(scores: Scores, metric: str) -> list[float]:
    return [value for value in scores.metrics[metric] if value is not None]


def _mean_and_count(scores: Scores, metric: str) -> tuple[float, int]:
    """The mean of the scored cases, or the statistic; and how many cases it is of."""
    if statistics.is_statistic(metric):
        return statistics.value(scores, metric) or (math.nan, 0)
    values = _scored(scores, metric)
    return float(np.mean(values)), len(values)
