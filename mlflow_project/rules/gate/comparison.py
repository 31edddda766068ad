"""Compares one metric of two releases on the same cases: difference, bounds, and the smallest effect that would show.

In: paired values, where higher is better. Out: a `Comparison`. Yes/no values (all 0 or 1) are compared by the exact
McNemar test and Tango's interval, other values by the bootstrap of their mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mlflow_project.domain.verdict import Scores
from mlflow_project.rules.gate import means, paired, statistics
from mlflow_project.rules.gate.policy import MetricRule


@dataclass(frozen=True)
class Comparison:
    """`difference` with its one-sided bounds; `superior` and `non_inferior` are the results of the tests.

    `detectable` is the smallest effect (gain, or distance from the margin) that these cases show at 80 % power.
    """

    pairs: int
    difference: float
    lower: float
    upper: float
    spread: float
    superior: bool
    non_inferior: bool
    p_value: float | None = None
    detectable: float | None = None

    @property
    def identical(self) -> bool:
        """Whether both have the same value on every case. Then neither is inferior, however few the cases."""
        return self.difference == 0 and self.spread == 0


def pairs(candidate: Scores, champion: Scores, metric: str, tag: str | None = None) -> tuple[list[float], list[float]]:
    """The values of both on the cases where both were scored; only the cases of `tag`, if one is given."""
    rows = zip(
        candidate.metrics.get(metric, ()),
        champion.metrics.get(metric, ()),
        candidate.tags or [()] * len(candidate.case_ids),
        strict=False,
    )
    kept = [(a, b) for a, b, tags in rows if a is not None and b is not None and (tag is None or tag in tags)]
    return [a for a, _ in kept], [b for _, b in kept]


def compare_metric(
    candidate: Scores, champion: Scores, rule: MetricRule, confidence: float, tag: str | None = None
) -> tuple[Comparison, float, float] | None:
    """One metric of two releases: the comparison, where positive is better, and both values. None if no case of the tag
    was scored for both. `rule.margin` None: `detectable` is about superiority."""
    higher = rule.direction == "higher"
    if statistics.is_statistic(rule.metric):
        found = statistics.compare(candidate, champion, rule.metric, higher, confidence, tag)
        if found is None:
            return None
        return _resampled(found, higher, rule.margin, confidence), found.candidate, found.champion
    ours, theirs = pairs(candidate, champion, rule.metric, tag)
    if not ours:
        return None
    turned = [values if higher else [-value for value in values] for values in (ours, theirs)]
    return compare(turned[0], turned[1], rule.margin, confidence), float(np.mean(ours)), float(np.mean(theirs))


def _resampled(found: statistics.Resampled, higher: bool, margin: float | None, confidence: float) -> Comparison:
    difference = found.candidate - found.champion
    return Comparison(
        pairs=found.cases,
        difference=difference if higher else -difference,
        lower=found.lower,
        upper=found.upper,
        spread=found.spread,
        superior=found.lower > 0,
        non_inferior=margin is not None and found.lower > -margin,
        detectable=means.detectable_difference(found.spread, found.cases, confidence),
    )


def compare(candidate: list[float], champion: list[float], margin: float | None, confidence: float) -> Comparison:
    """Compare paired values, where higher is better. Without a margin, `detectable` is about superiority."""
    ours, theirs = np.asarray(candidate), np.asarray(champion)
    yes_no = bool(np.isin(ours, (0.0, 1.0)).all() and np.isin(theirs, (0.0, 1.0)).all())
    return (_yes_no if yes_no else _means)(ours - theirs, margin, confidence)


def _yes_no(differences: np.ndarray, margin: float | None, confidence: float) -> Comparison:
    n = len(differences)
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    lower, upper = paired.tango_bounds(gained, lost, n, confidence)
    spread = float(differences.std())
    p_value = float(paired.mcnemar_p(gained, lost))
    if margin is None:
        detectable = paired.detectable_gain(n, (gained + lost) / n, confidence)
    else:
        detectable = means.detectable_difference(max(spread, (margin * (1 - margin)) ** 0.5), n, confidence)
    return Comparison(
        pairs=n,
        difference=float(differences.mean()),
        lower=float(lower),
        upper=float(upper),
        spread=spread,
        superior=p_value <= 1 - confidence,
        non_inferior=margin is not None and (float(lower) > -margin or gained == lost == 0),
        p_value=p_value,
        detectable=detectable,
    )


def _means(differences: np.ndarray, margin: float | None, confidence: float) -> Comparison:
    if len(differences) < 2:
        return Comparison(len(differences), float(differences.mean()), -math.inf, math.inf, 0.0, False, False)
    lower, upper = (float(bound) for bound in means.bootstrap_bounds(differences, confidence))
    spread = float(differences.std(ddof=1))
    return Comparison(
        pairs=len(differences),
        difference=float(differences.mean()),
        lower=lower,
        upper=upper,
        spread=spread,
        superior=lower > 0,
        non_inferior=margin is not None and lower > -margin,
        detectable=means.detectable_difference(spread, len(differences), confidence),
    )
