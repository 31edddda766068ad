"""The gate's decision. In: scores of candidate and champion, and a policy. Out: a verdict with reasons. Pure.

All deciding checks must hold (an intersection-union test: Berger 1982), so their errors do not add up. If one fails,
the verdict is `rejected`. Otherwise, if one cannot be decided on these cases, it is `inconclusive`. Neither promotes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlflow_project.domain.verdict import Check, Scores, Spending, Verdict
from mlflow_project.errors import InvalidData
from mlflow_project.rules.gate.certain import certain_check
from mlflow_project.rules.gate.checks import check_answered, check_cap, check_floor, check_guard, check_rule
from mlflow_project.rules.gate.own_answers import without_own_answers
from mlflow_project.rules.gate.policy import Policy
from mlflow_project.rules.gate.spending import IGNORED, TESTED, spending
from mlflow_project.rules.gate.trades import trade
from mlflow_project.rules.scorers import FAILED


def decide(
    candidate: Scores,
    champion: Scores | None,
    policy: Policy,
    more: tuple[Check, ...] = (),
    accepted_before: Sequence[bool] = (),
    certain: frozenset[str] = frozenset(),
    certain_for_champion: frozenset[str] = frozenset(),
) -> Verdict:
    """Decide about the candidate. Without a champion only floors and caps decide.

    Args:
        more: checks of the contents of both, beside those of their scores.
        accepted_before: the outcomes of earlier verdicts on mostly these cases, oldest first. Each makes the tests
            against the champion stricter, unless the policy ignores them.
        certain: metrics that cannot fail for the candidate, and so decide nothing.
        certain_for_champion: metrics that cannot fail for the champion, and so decide nothing between the two.

    Raises:
        InvalidData: the two were not scored on the same cases in the same order.
    """
    if champion is not None and _cases(candidate) != _cases(champion):
        raise InvalidData(
            f"{candidate.label} and {champion.label} were scored on different cases "
            f"({len(candidate.case_ids)}, {len(champion.case_ids)}): evaluate both on the same cases."
        )
    candidate, champion, own = without_own_answers(candidate, champion)
    spent = None if champion is None else _spending(policy, accepted_before, len(candidate.case_ids))
    found = _checks(candidate, champion, policy, spent, certain, certain_for_champion)
    checks = (*more, *found, *own)
    if not any(check.rule in TESTED for check in checks):
        spent = None
    failed = [check.reason for check in checks if check.holds is False]
    undecided = [check.reason for check in checks if check.holds is None]
    count = len(candidate.case_ids)
    if failed:
        return Verdict("rejected", tuple(failed + undecided), checks, count, spent)
    if undecided:
        return Verdict("inconclusive", tuple(undecided), checks, count, spent)
    reached = tuple(check.reason for check in checks if check.rule != "report")
    return Verdict("accepted", reached, checks, count, spent)


def _spending(policy: Policy, accepted_before: Sequence[bool], cases: int) -> Spending:
    if policy.counts_earlier_verdicts:
        return spending(policy.confidence, accepted_before, cases)
    return Spending(IGNORED, len(accepted_before) + 1, policy.confidence, 1.0, 0)


def _checks(
    candidate: Scores,
    champion: Scores | None,
    policy: Policy,
    spent: Spending | None,
    certain: frozenset[str],
    certain_for_champion: frozenset[str],
) -> tuple[Check, ...]:
    floors = [rule for rule in policy.metrics if rule.floor is not None]
    checks = [check_floor(candidate, rule, policy) for rule in floors if rule.metric not in certain]
    checks += [check_cap(candidate, cap) for cap in policy.caps if cap.metric not in certain]
    named = dict.fromkeys([*(rule.metric for rule in policy.metrics), *(cap.metric for cap in policy.caps)])
    passed_over = [certain_check(metric, candidate.label) for metric in named if metric in certain]
    if passed_over and not checks:
        reason = f"no metric of the policy can fail for {candidate.label}: name one that can, such as correct"
        checks.append(Check("", "floor", None, reason))
    if FAILED in candidate.metrics and not any(cap.metric == FAILED for cap in policy.caps):
        checks.append(check_answered(candidate))
    if champion is not None and spent is not None:
        tested = replace(policy, confidence=spent.confidence)
        unequal = certain_for_champion - certain
        passed_over += [certain_check(metric, champion.label) for metric in named if metric in unequal]
        judged = [rule for rule in policy.metrics if rule.metric not in certain | unequal]
        checks += [check_rule(candidate, champion, rule, tested) for rule in judged]
        guards = [guard for guard in policy.guards if guard.metric not in certain | unequal]
        checks += [check_guard(candidate, champion, guard, policy) for guard in guards]
        passed_over += trade(candidate, champion, policy)
    return (*checks, *passed_over)


def _cases(scores: Scores) -> tuple[str, tuple[str, ...]]:
    return scores.cases_digest, scores.case_ids
