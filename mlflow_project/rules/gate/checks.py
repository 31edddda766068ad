"""The checks of a policy: floor, cap, rule against the champion, guard of a tag. Each returns one `Check`.

`Check.holds` is True if the check is shown to hold, False if it is shown not to hold or if the metric cannot be
trusted, and None if these cases cannot decide it.
"""

from __future__ import annotations

import math

import numpy as np

from mlflow_project.domain.verdict import Check, Scores
from mlflow_project.rules.gate import reasons
from mlflow_project.rules.gate.comparison import Comparison, compare, pairs
from mlflow_project.rules.gate.means import cases_needed
from mlflow_project.rules.gate.policy import Cap, Guard, MetricRule, Policy
from mlflow_project.rules.scorers import FAILED


def check_floor(scores: Scores, rule: MetricRule, policy: Policy) -> Check:
    """The mean reaches the floor, on enough cases."""
    if trouble := _trouble(scores, rule.metric):
        return Check(rule.metric, "floor", False, trouble)
    values = _scored(scores, rule.metric)
    mean, floor = float(np.mean(values)), rule.floor or 0.0
    if len(values) < policy.min_cases:
        reason = reasons.too_few(rule.metric, len(values), policy.min_cases)
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
    values = _scored(scores, cap.metric)
    statistics = {"mean": np.mean(values), "p95": np.percentile(values, 95), "max": np.max(values)}
    value = float(statistics[cap.statistic])
    return Check(cap.metric, name, value <= cap.at_most, reasons.cap(cap, value), value)


def check_rule(candidate: Scores, champion: Scores, rule: MetricRule, policy: Policy) -> Check:
    """The metric is superior, or non-inferior within the margin; or both means are only reported."""
    trouble = _trouble(candidate, rule.metric) or _trouble(champion, rule.metric)
    if trouble:
        harmless = rule.rule == "report" and _is_unscored_without_fault(candidate, champion, rule.metric)
        return Check(rule.metric, rule.rule, harmless, trouble)
    ours, theirs = pairs(candidate, champion, rule.metric)
    if rule.rule == "report":
        mean, other = _mean(candidate, rule.metric), _mean(champion, rule.metric)
        return Check(rule.metric, "report", True, reasons.report(rule.metric, mean, other), mean, other)
    if len(ours) < policy.min_cases:
        reason = reasons.too_few(rule.metric, len(ours), policy.min_cases)
        return Check(rule.metric, rule.rule, None, reason, cases_needed=policy.min_cases)
    found = compare(_higher_is_better(ours, rule), _higher_is_better(theirs, rule), rule.margin, policy.confidence)
    return _judged(rule, found, float(np.mean(ours)), float(np.mean(theirs)), policy.confidence)


def check_guard(candidate: Scores, champion: Scores, guard: Guard, policy: Policy) -> Check:
    """The cases of a tag do not lose more than the guard allows, unless chance explains the loss. This is an alarm, not
    a proof of equality."""
    rule, name = policy.rule_of(guard.metric), f"guard {guard.tag}"
    trouble = _trouble(candidate, guard.metric) or _trouble(champion, guard.metric)
    ours, theirs = pairs(candidate, champion, guard.metric, guard.tag)
    if trouble or not ours:
        return Check(guard.metric, name, False, trouble or f"no case of tag {guard.tag} was scored on {guard.metric}")
    loss = compare(_higher_is_better(theirs, rule), _higher_is_better(ours, rule), None, policy.confidence)
    holds = not (loss.superior and loss.difference > guard.drop)
    mean, other = float(np.mean(ours)), float(np.mean(theirs))
    return Check(guard.metric, name, holds, reasons.guard(guard, len(ours), mean, other, holds), mean, other)


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


def _mean(scores: Scores, metric: str) -> float:
    return float(np.mean(_scored(scores, metric)))


def _higher_is_better(values: list[float], rule: MetricRule) -> list[float]:
    """The values, negated if lower is better."""
    return values if rule.direction == "higher" else [-value for value in values]
