"""Judges pairs of answers to live questions: those of a replay or of a shadow. Pure.

In: scores of two releases on the same questions, the unit of each question, and a policy. Out: scores by unit, checks,
and the worst pairs. The questions of one session depend on each other, so a session counts once: by the means of its
questions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from mlflow_project.domain.verdict import Check, Scores
from mlflow_project.rules.canonical import digest_of
from mlflow_project.rules.gate.checks import check_answered, check_rule
from mlflow_project.rules.gate.policy import MetricRule, Policy
from mlflow_project.rules.gate.reasons import percent
from mlflow_project.rules.gate.spending import spending
from mlflow_project.rules.scorers import FAILED, LIVE_SCORERS

_FIRST = "groundedness"
"""The metric by which pairs are ranked if the policy judges none."""


def by_unit(scores: Scores, units: Sequence[str]) -> Scores:
    """One row per unit, in the order of their first questions: the mean of the unit's scored questions."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for number, unit in enumerate(units):
        rows[unit].append(number)
    metrics = {
        name: tuple(_mean([values[number] for number in numbers]) for numbers in rows.values())
        for name, values in scores.metrics.items()
    }
    return replace(scores, case_ids=tuple(rows), metrics=metrics, tags=(), cases_digest=digest_of(list(units)))


def live_policy(policy: Policy | None) -> Policy:
    """The part of a policy that can be judged on live questions.

    Where the policy has a `replay`, its metrics are judged. Otherwise those that must be non-inferior anyway are.
    """
    judged: tuple[MetricRule, ...] = ()
    if policy is not None and policy.replay is not None:
        judged = policy.replay.metrics
    elif policy is not None:
        judged = tuple(rule for rule in policy.metrics if rule.rule == "non_inferior" and rule.metric in LIVE_SCORERS)
    return Policy(
        metrics=tuple(replace(rule, floor=None) for rule in judged),
        caps=(),
        guards=(),
        confidence=policy.confidence if policy is not None else 0.95,
        min_cases=_min_cases(policy),
        protected=False,
        approval=False,
        digest=policy.digest if policy is not None else "",
        replay=policy.replay if policy is not None else None,
        counts_earlier_verdicts=policy.counts_earlier_verdicts if policy is not None else True,
    )


def replay_checks(
    candidate: Scores, champion: Scores, policy: Policy, questions: int, accepted_before: Sequence[bool] = ()
) -> tuple[Check, ...]:
    """The checks that a policy's `replay` adds to those of the evaluation. Scores are by unit.

    `accepted_before` are the outcomes of earlier replays of the same releases or of mostly the same questions, oldest
    first. Each makes the checks stricter, unless the policy ignores earlier verdicts.
    """
    assert policy.replay is not None
    rules, least = live_policy(policy), policy.replay.n
    if policy.counts_earlier_verdicts:
        rules = replace(rules, confidence=spending(policy.confidence, accepted_before, questions).confidence)
    enough = questions >= least
    reason = f"replay: {questions} live questions were asked, the policy asks for {least}"
    if not enough:
        reason += "; replay again with a longer --window when there are more"
    if accepted_before:
        reason += f"; it is replay {len(accepted_before) + 1} of these releases or of mostly these questions, so its "
        reason += f"tests have {percent(rules.confidence)} confidence"
    checks = [Check("replay", "replay n", True if enough else None, reason, cases_needed=None if enough else least)]
    if FAILED in candidate.metrics:
        checks.append(check_answered(candidate))
    checks += [check_rule(candidate, champion, rule, rules) for rule in rules.metrics]
    return tuple(replace(check, rule=f"replay {check.rule}", reason=_of_replay(check.reason)) for check in checks)


def worst(
    candidate: Scores, champion: Scores, rules: Policy, agreed: Sequence[float | None], most: int
) -> list[tuple[int, str, float]]:
    """The pairs on which the candidate loses most: number of the question, metric, and difference (negative: worse).

    The first judged metric ranks; pairs without it, or with the same difference, are ranked by their agreement.
    """
    rule = rules.metrics[0] if rules.metrics else MetricRule(_FIRST, "higher", "report")
    sign = 1 if rule.direction == "higher" else -1
    found = []
    pairs = zip(candidate.metrics.get(rule.metric, ()), champion.metrics.get(rule.metric, ()), strict=True)
    for number, (ours, theirs) in enumerate(pairs):
        difference = 0.0 if ours is None or theirs is None else sign * (ours - theirs)
        agreement = agreed[number]
        found.append((difference, 1.0 if agreement is None else agreement, number))
    return [(number, rule.metric, difference) for difference, _, number in sorted(found)[:most]]


def _min_cases(policy: Policy | None) -> int:
    if policy is None:
        return 30
    return min(policy.min_cases, policy.replay.n) if policy.replay is not None else policy.min_cases


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _of_replay(reason: str) -> str:
    return reason if reason.startswith("replay: ") else f"replay: {reason}"
