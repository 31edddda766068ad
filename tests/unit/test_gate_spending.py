"""Verdicts on the same cases share one chance of a wrong acceptance."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from mlflow_project.domain.record import GENESIS, LedgerRecord
from mlflow_project.domain.verdict import Scores
from mlflow_project.promotion.earlier_verdicts import earlier_verdicts
from mlflow_project.rules.gate.decide import decide
from mlflow_project.rules.gate.policy import policy_from
from mlflow_project.rules.gate.reasons import percent, spent
from mlflow_project.rules.gate.spending import EarlierVerdict, marks_of, on_mostly_these, spending

N = 150
QUESTIONS = [f"Question {number}?" for number in range(N)]
RULES = {"metrics": {"correct": {"direction": "higher", "floor": 0.1, "rule": "superior"}}}


def scored(label: str, right: int) -> Scores:
    ids = tuple(map(str, range(N)))
    return Scores(label, label, "cases", ids, {"correct": tuple(float(number < right) for number in range(N))})


def test_rejections_spend_the_error_and_acceptances_hand_theirs_on() -> None:
    levels = [1 - spending(0.95, [False] * before, N).confidence for before in range(1000)]
    assert levels == sorted(levels, reverse=True)
    assert sum(levels) < 0.05
    assert levels[0] == pytest.approx(0.0304, abs=1e-4)
    assert 1 - spending(0.95, [True], N).confidence == pytest.approx(levels[0] + levels[1])
    assert 1 - spending(0.95, [True] * 50, N).confidence < 0.05
    assert spending(0.95, [True, False], N).confidence == spending(0.95, [False, False], N).confidence


def test_a_gain_that_the_first_verdict_shows_is_not_shown_after_many_rejections() -> None:
    policy = policy_from(RULES)
    candidate, champion = scored("qa/2", 70), scored("qa/1", 64)
    first = decide(candidate, champion, policy)
    assert first.accepted
    assert first.spending is not None
    assert first.spending.number == 1
    late = decide(candidate, champion, policy, accepted_before=[False] * 4)
    assert late.outcome == "inconclusive"
    assert late.spending is not None
    assert late.to_dict()["spending"]["number"] == 5
    said = spent(late.spending, policy.confidence)
    assert said.startswith("Verdict 5 on mostly these cases: its tests had 99.88 % confidence.")
    assert said.endswith("11% of it are left if this one is not accepted. 76 new cases in place of old ones restore it")


def test_a_policy_can_ignore_earlier_verdicts_and_the_verdict_says_so() -> None:
    policy = policy_from({**RULES, "earlier_verdicts": "ignore"})
    verdict = decide(scored("qa/2", 70), scored("qa/1", 64), policy, accepted_before=[False] * 4)
    assert verdict.accepted
    assert verdict.to_dict()["spending"] == {
        "procedure": "ignored",
        "number": 5,
        "confidence": 0.95,
        "left": 1.0,
        "new_cases": 0,
    }


def test_floors_alone_spend_nothing() -> None:
    policy = policy_from({"metrics": {"correct": {"direction": "higher", "floor": 0.1}}})
    assert decide(scored("qa/2", 70), None, policy).spending is None
    assert decide(scored("qa/2", 70), scored("qa/1", 64), policy).spending is None


@pytest.mark.parametrize(
    ("confidence", "shown"), [(0.95, "95 %"), (0.9696, "96.96 %"), (0.999924, "99.99 %"), (0.999999, "99.9999 %")]
)
def test_a_confidence_is_never_rounded_to_certainty(confidence: float, shown: str) -> None:
    assert percent(confidence).startswith(shown[:5])
    assert percent(confidence) != "100 %"


def earlier(questions: list[str], digest: str = "another") -> list[EarlierVerdict]:
    return [EarlierVerdict(False, "grounds", digest, marks_of(questions))]


def test_cases_are_the_same_if_half_of_them_were_asked_before() -> None:
    marks = marks_of(QUESTIONS)
    assert on_mostly_these(earlier(QUESTIONS[:75]), "cases", marks)
    assert not on_mostly_these(earlier(QUESTIONS[:74]), "cases", marks)
    assert on_mostly_these(earlier(QUESTIONS + [f"More {number}?" for number in range(5000)]), "cases", marks)
    assert on_mostly_these([EarlierVerdict(True, "grounds", "cases")], "cases", ())
    large = [f"Large {number}?" for number in range(4000)]
    assert on_mostly_these(earlier(large[:2600]), "cases", marks_of(large))
    assert not on_mostly_these(earlier(large[:1400]), "cases", marks_of(large))


def record(serial: int, kind: str, verdict: dict[str, Any], **other: Any) -> LedgerRecord:
    """A record of a verdict, as `record_verdict` writes it."""
    evidence: dict[str, Any] = {
        "verdict": verdict,
        "champion": {"version": 1, "digest": "sha256:1"},
        "policy": {"digest": "sha256:p"},
        "cases": {"digest": "cases", "count": N, "marks": list(marks_of(QUESTIONS))},
    }
    if kind == "seal":
        payload = base64.b64encode(json.dumps({"predicate": evidence}).encode()).decode()
        evidence = {"envelope": {"payload": payload}}
    made = LedgerRecord(
        serial, GENESIS, "n", "2026-11-30T00:00:00.000Z", "seal", "prompt", "qa", "anna", digest="sha256:2"
    )
    return replace(made, type=kind, evidence=evidence, **other)  # type: ignore[arg-type]


def test_the_ledger_gives_every_verdict_that_tested_a_candidate_once() -> None:
    verdict = decide(scored("qa/2", 70), scored("qa/1", 64), policy_from(RULES)).to_dict()
    records = [
        record(1, "refusal", verdict),
        record(2, "refusal", verdict),  # the same question again
        record(3, "seal", verdict, digest="sha256:3"),
        record(4, "seal", verdict, name="other"),
        record(5, "refusal", {**verdict, "checks": []}),
        replace(record(6, "seal", verdict), evidence={"envelope": {"payload": "?"}}),
        replace(record(7, "refusal", verdict), type="approval"),
    ]
    found = earlier_verdicts(records, "qa", "prompt")
    assert [each.accepted for each in found] == [False, False, True]
    assert [each.accepted for each in on_mostly_these(found, "another", marks_of(QUESTIONS))] == [False, True]
