"""Pairs of answers to live questions: a session counts once, and a policy's replay adds checks to the gate."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_project.domain.answer import Answer
from mlflow_project.domain.verdict import Scores
from mlflow_project.errors import InvalidData
from mlflow_project.rules.gate.decide import decide
from mlflow_project.rules.gate.live import by_unit, live_policy, replay_checks, worst
from mlflow_project.rules.gate.policy import Policy, policy_from
from mlflow_project.rules.scorers import FAILED, SCORERS
from mlflow_project.rules.scorers.agreement import agreement

METRICS = {"groundedness": {"direction": "higher", "floor": 0.5, "rule": "non_inferior", "margin": 0.05}}


def policy(**replay: Any) -> Policy:
    data: dict[str, Any] = {"min_cases": 5, "metrics": METRICS}
    return policy_from({**data, "replay": replay} if replay else data)


def scores(values: list[float | None], label: str = "qa/2") -> Scores:
    failed = tuple(float(value is None) for value in values)
    ids = tuple(str(number) for number in range(len(values)))
    return Scores(label, "sha256:2", "sha256:c", ids, {"groundedness": tuple(values), FAILED: failed})


def test_a_session_counts_once_by_the_mean_of_its_scored_questions() -> None:
    found = by_unit(scores([1.0, 0.5, None, 0.0]), ["a", "b", "b", "a"])
    assert (found.case_ids, found.metrics["groundedness"]) == (("a", "b"), (0.5, 0.5))
    assert found.metrics[FAILED] == (0.0, 0.5)


def test_a_long_session_does_not_make_a_chance_result_sure() -> None:
    worse, better = [0.0] * 200 + [1.0] * 6, [1.0] * 206
    units = ["one session"] * 200 + [f"request {number}" for number in range(6)]
    rules = live_policy(policy())
    by_question = decide(scores(worse), scores(better, "qa/1"), rules)
    by_session = decide(by_unit(scores(worse), units), by_unit(scores(better, "qa/1"), units), rules)
    assert (by_question.outcome, by_session.outcome) == ("rejected", "inconclusive")


def test_what_needs_an_expected_answer_is_not_judged_on_live_questions() -> None:
    data = {"min_cases": 5, "metrics": {**METRICS, "correct": {**METRICS["groundedness"]}}}
    assert [rule.metric for rule in live_policy(policy_from(data)).metrics] == ["groundedness"]
    assert live_policy(None).metrics == ()


def test_a_replay_with_too_few_questions_leaves_the_gate_undecided() -> None:
    same = scores([0.9] * 10)
    enough = replay_checks(same, scores([0.9] * 10, "qa/1"), policy(n=10, non_inferior="groundedness"), 10)
    few = replay_checks(same, scores([0.9] * 10, "qa/1"), policy(n=11, non_inferior="groundedness"), 10)
    assert [check.holds for check in enough] == [True, True, True]
    assert [check.holds for check in few] == [None, True, True]
    assert "10 live questions were asked, the policy asks for 11" in few[0].reason
    assert all(check.reason.startswith("replay: ") for check in enough)


def test_a_candidate_that_is_worse_on_live_questions_is_rejected() -> None:
    checks = replay_checks(
        scores([0.5] * 40), scores([0.9] * 40, "qa/1"), policy(n=40, non_inferior=["groundedness"]), 40
    )
    assert [check.holds for check in checks] == [True, True, False]


def test_the_margin_of_a_replay_may_be_its_own() -> None:
    found = policy(n=40, non_inferior="groundedness", margin=0.2).replay
    assert found is not None
    assert (found.n, found.metrics[0].margin, found.metrics[0].direction) == (40, 0.2, "higher")


@pytest.mark.parametrize(
    ("replay", "said"),
    [
        ({"n": 0, "non_inferior": "groundedness"}, "n must be a whole number of at least 2"),
        ({"n": 5}, "non_inferior must name a metric"),
        ({"n": 5, "non_inferior": "correct", "margin": 0.1}, "correct cannot be scored on live questions"),
        ({"n": 5, "non_inferior": "valid"}, "valid needs a margin above 0"),
        ({"n": 5, "non_inferior": "groundedness", "hours": 3}, "'hours' is unknown"),
    ],
)
def test_a_wrong_replay_is_refused_with_the_reason(replay: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidData, match="replay") as caught:
        policy(**replay)
    assert said in str(caught.value)


def test_the_worst_pairs_lose_most_and_then_agree_least() -> None:
    ours, theirs = scores([0.9, 0.1, None, 0.9]), scores([0.9, 0.9, 0.9, 0.8], "qa/1")
    found = worst(ours, theirs, live_policy(policy()), [0.3, 1.0, 0.1, 1.0], 3)
    assert [(number, metric) for number, metric, _ in found] == [(n, "groundedness") for n in (1, 2, 0)]


def test_agreement_is_about_words_refusals_and_objects() -> None:
    paris, same = Answer("It is Paris. [1]"), Answer("it is PARIS")
    assert agreement(paris, same).value == pytest.approx(6 / 7)
    assert agreement(paris, Answer("I do not know.", refused=True)).value == 0
    assert agreement(Answer("No.", refused=True), Answer("I do not know.", refused=True)).value == 1
    assert agreement(Answer("{}", object={"a": 1}), Answer("{ }", object={"a": 1})).value == 1
    assert agreement(Answer("{}", object={"a": 1}), Answer("{}", object={"a": 2})).value == 0
    assert agreement(Answer(None), paris).value is None


def test_refused_is_a_metric_of_live_questions_alone() -> None:
    assert "refused" not in SCORERS
