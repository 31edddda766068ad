"""The gate is not flattered: groups apart, scores that cannot fail, answers that a release gave itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mlflow_project.domain.answer import Answer, Case
from mlflow_project.domain.release import Manifest, ProviderChoice
from mlflow_project.domain.verdict import Scores, Verdict
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation.cases import groups_of
from mlflow_project.evaluation.policies import load_policy
from mlflow_project.registration.new_prompt import new_prompt
from mlflow_project.rules.gate.certain import certain_metrics
from mlflow_project.rules.gate.decide import decide
from mlflow_project.rules.gate.own_answers import own_answer_tag
from mlflow_project.rules.gate.policy import policy_from
from mlflow_project.rules.scorers import SCORERS, ScoringContext
from stack.layout import ROOT

CORRECT = {"direction": "higher", "floor": 0.1, "rule": "non_inferior", "margin": 0.1}
GUARDS = [
    {"tag": "answerable", "metric": "correct", "drop": 0.02, "min_cases": 60},
    {"tag": "unanswerable", "metric": "correct", "drop": 0.02, "min_cases": 30},
]
LIVE = "request r-1 to qa/1, judged 2026-11-30T00:00:00.000Z by review"


def scored(label: str, groups: dict[str, tuple[int, int]], **metrics: Sequence[float | None]) -> Scores:
    """Scores of `correct`: for each tag, how many of how many cases are right."""
    correct = [float(number < right) for right, count in groups.values() for number in range(count)]
    tags = tuple((tag,) for tag, (_, count) in groups.items() for _ in range(count))
    ids = tuple(map(str, range(len(correct))))
    every = {"correct": tuple(correct), **{name: tuple(values) for name, values in metrics.items()}}
    return Scores(label, label, "cases", ids, every, {}, tags)


def judged(candidate: Scores, champion: Scores | None, policy: dict[str, Any], **more: Any) -> Verdict:
    return decide(candidate, champion, policy_from({"metrics": {"correct": CORRECT}, **policy}), **more)


def test_a_loss_on_answerable_cases_does_not_hide_behind_more_refusals() -> None:
    champion = scored("qa/1", {"answerable": (140, 200), "unanswerable": (10, 60)})
    candidate = scored("qa/2", {"answerable": (112, 200), "unanswerable": (38, 60)})
    assert judged(candidate, champion, {}).accepted
    verdict = judged(candidate, champion, {"guards": GUARDS})
    assert verdict.outcome == "rejected"
    assert "correct on the 200 cases of tag answerable: 0.560 against the champion's 0.700" in verdict.reasons[0]


def test_what_was_traded_is_said_also_when_it_is_accepted() -> None:
    champion = scored("qa/1", {"answerable": (124, 200), "unanswerable": (10, 60)})
    candidate = scored("qa/2", {"answerable": (120, 200), "unanswerable": (20, 60)})
    verdict = judged(candidate, champion, {})
    assert verdict.accepted
    assert verdict.reasons[-1] == (
        "traded: worse correct on the 200 cases of tag answerable: 0.620 -> 0.600; for better correct on the 60 cases "
        "of tag unanswerable: 0.167 -> 0.333"
    )
    assert "traded" not in " ".join(judged(champion, champion, {}).reasons)


def test_too_few_cases_of_a_group_decide_nothing() -> None:
    few = scored("qa/1", {"answerable": (80, 100), "unanswerable": (5, 8)})
    verdict = judged(few, few, {"guards": GUARDS})
    assert verdict.outcome == "inconclusive"
    assert verdict.reasons == ("correct on tag unanswerable: 8 scored cases, the policy asks for 30; add 22 more",)
    with pytest.raises(InvalidData, match=r"guards\[1\]: min_cases must be a whole number"):
        policy_from({"metrics": {"correct": CORRECT}, "guards": [{**GUARDS[0], "min_cases": 0}]})


def test_a_score_that_cannot_fail_decides_nothing_and_that_is_said() -> None:
    grounded = {"groundedness": {"direction": "higher", "floor": 0.9, "rule": "non_inferior", "margin": 0.02}}
    groups = {"answerable": (80, 100)}
    quoting, writing = (
        scored("qa/1", groups, groundedness=[1.0] * 100),
        scored("qa/2", groups, groundedness=[0.92] * 100),
    )
    policy = {"metrics": {"correct": CORRECT, **grounded}}
    certain = frozenset({"groundedness"})
    both = judged(quoting, quoting, policy, certain=certain, certain_for_champion=certain)
    assert both.accepted
    said = [reason for reason in both.reasons if "groundedness" in reason]
    assert said == [
        "groundedness cannot fail for qa/1, whose provider quotes its context word for word: it decides nothing"
    ]
    assert judged(writing, quoting, policy).outcome == "rejected"
    assert judged(writing, quoting, policy, certain_for_champion=certain).accepted
    below = scored("qa/2", groups, groundedness=[0.8] * 100)
    assert "below its floor" in judged(below, quoting, policy, certain_for_champion=certain).reasons[0]
    alone = judged(quoting, None, {"metrics": grounded}, certain=certain)
    assert alone.outcome == "inconclusive"
    assert "name one that can" in alone.reasons[0]


def test_only_a_release_that_always_quotes_cannot_fail() -> None:
    quoting, writing = ProviderChoice("extractive", "extractive-1", {}), ProviderChoice("gemini", "g", {})
    manifest = Manifest(kind="prompt", name="qa", template=(), provider=quoting)
    assert "groundedness" in certain_metrics(manifest)
    for other in ({"provider": writing}, {"fallbacks": (writing,)}, {"provider": None}):
        assert not certain_metrics(Manifest(**{**vars(manifest), **other}))


def test_a_release_s_own_approved_answers_never_decide_for_it() -> None:
    """The champion is right on 60 cases that its own answers made; on written ones the candidate is better."""
    own = own_answer_tag("qa/1")
    agreement = [None] * 100 + [0.4] * 60
    champion = scored("qa/1", {"answerable": (50, 100), own: (60, 60)}, agreement=[None] * 100 + [1.0] * 60)
    candidate = scored("qa/2", {"answerable": (70, 100), own: (20, 60)}, agreement=agreement)
    verdict = judged(candidate, champion, {})
    assert verdict.accepted
    assert verdict.cases == 100
    assert verdict.reasons[-1] == (
        "60 cases are made from approved answers of qa/1, and decide nothing here; agreement with them: qa/2 0.400, "
        "qa/1 1.000"
    )
    others = scored("qa/3", {"answerable": (50, 100), own: (60, 60)})
    assert judged(others, scored("qa/4", {"answerable": (50, 100), own: (60, 60)}), {}).cases == 160


def test_a_case_belongs_to_groups_by_itself() -> None:
    assert groups_of(Case("a", "Q?", ("A",), tags=("hard",))) == ("hard", "answerable")
    assert groups_of(Case("a", "Q?", tags=("unanswerable",))) == ("unanswerable",)
    live = Case("a", "Q?", ("A",), origin=LIVE)
    assert groups_of(live) == ("answerable", own_answer_tag("qa/1"))
    assert groups_of(Case("a", "Q?", ("A",), tags=("corrected",), origin=LIVE)) == ("corrected", "answerable")


def test_an_approved_answer_is_scored_by_agreement() -> None:
    case = Case("a", "When?", ("The office opens at nine in the morning.",), origin=LIVE)
    for text, correct in (("It opens at nine in the morning.", 1.0), ("At five.", 0.0)):
        context = ScoringContext(case, Answer(text))
        assert SCORERS["correct"](context).value == correct
        assert SCORERS["agreement"](context).value == SCORERS["token_f1"](context).value
    written = ScoringContext(Case("a", "When?", ("nine",)), Answer("It opens at nine in the morning, every day."))
    assert (SCORERS["correct"](written).value, SCORERS["agreement"](written).value) == (1.0, None)
    refused = ScoringContext(Case("a", "Why?", origin=LIVE), Answer("I do not know.", refused=True))
    assert SCORERS["agreement"](refused).value == 1.0


def test_shipped_and_new_policies_guard_both_groups_and_retrieval(tmp_path: Any) -> None:
    policies = [load_policy(ROOT / "prompts" / "qa" / "policy.yaml")]
    policies.append(load_policy(new_prompt("support", tmp_path, "s3a://bucket/docs") / "policy.yaml"))
    for policy in policies:
        guarded = {(guard.tag, guard.metric) for guard in policy.guards if guard.min_cases > 1}
        assert guarded == {("answerable", "correct"), ("unanswerable", "correct"), ("answerable", "hit_at_5")}
    plain = load_policy(new_prompt("plain", tmp_path) / "policy.yaml")
    assert {guard.metric for guard in plain.guards} == {"correct"}
