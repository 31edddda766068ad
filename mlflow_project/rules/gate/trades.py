"""Says what a candidate trades: which groups of cases gain while others lose.

One mean over all cases hides such a trade: three points lost on questions that have an answer are made up for by many
more refusals of those that have none.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mlflow_project.domain.verdict import Check, Scores
from mlflow_project.rules.gate.comparison import pairs
from mlflow_project.rules.gate.policy import Policy
from mlflow_project.rules.gate.reasons import number
from mlflow_project.rules.gate.spending import TESTED
from mlflow_project.rules.gate.statistics import is_statistic

ANSWERABLE, UNANSWERABLE = "answerable", "unanswerable"
"""The tags that the evaluation gives every case."""
_LEAST = 0.005
"""A difference below this share of the champion's value, or of 1, is none."""


def trade(candidate: Scores, champion: Scores, policy: Policy) -> tuple[Check, ...]:
    """A check that names gains and losses, if there are both."""
    gained: list[str] = []
    lost: list[str] = []
    for metric, tag in _groups(policy):
        ours, theirs = pairs(candidate, champion, metric, tag)
        if not ours:
            continue
        mean, other = float(np.mean(ours)), float(np.mean(theirs))
        better = (mean - other) * (1 if policy.rule_of(metric).direction == "higher" else -1)
        if abs(better) < _LEAST * max(1.0, abs(other)):
            continue
        group = f"{metric} on the {len(ours)} cases of tag {tag}: {number(other)} -> {number(mean)}"
        (gained if better > 0 else lost).append(group)
    if not gained or not lost:
        return ()
    reason = f"traded: worse {'; '.join(lost)}; for better {'; '.join(gained)}"
    return (Check("", "trade", True, reason),)


def _groups(policy: Policy) -> Iterable[tuple[str, str]]:
    """Metrics with the groups that they are compared on, each once."""
    tested = [rule.metric for rule in policy.metrics if rule.rule in TESTED and not is_statistic(rule.metric)]
    own = [(metric, tag) for metric in tested for tag in (ANSWERABLE, UNANSWERABLE)]
    guarded = [(guard.metric, guard.tag) for guard in policy.guards if not is_statistic(guard.metric)]
    return dict.fromkeys([*own, *guarded])
