"""Asking: several at once, outages retried, answers kept, budgets kept to; what failed is told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mlflow_project.domain.answer import Answer, Case, Citation, Context, Usage
from mlflow_project.domain.release import Manifest, Message, ProviderChoice, Release
from mlflow_project.domain.verdict import Score
from mlflow_project.errors import InvalidAnswer, ProviderError, Refused
from mlflow_project.evaluation.answers import AnswerCache
from mlflow_project.evaluation.asking import Ask, Outcome, Plan, Purse, ask_all
from mlflow_project.evaluation.judge import Judge, judge_all
from mlflow_project.evaluation.scoring import Scored, score_functions, scored
from mlflow_project.rules.scorers import FAILED, SCORERS, Scorer, ScoringContext

CASES = tuple(Case(str(number), f"Question {number}?", ("yes",)) for number in range(20))
FULL = Answer(
    "Yes.",
    contexts=(Context("c", "d", "t", "Yes.", 0, 4, 1.0),),
    citations=(Citation("c", "d", 0, 4),),
    usage=Usage(3, 2, total_tokens=5),
    cost_usd=0.01,
    latency_ms=4.0,
)


class Answerer:
    """Answers, after the errors that it was given; counts what it was asked, and how many at once."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked: list[str] = []
        self.running = self.most = 0

    async def __call__(self, case: Case) -> Answer:
        self.asked.append(case.id)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.001)
        self.running -= 1
        if self.errors:
            raise self.errors.pop()
        return FULL


def outcomes_of(ask: Ask, folder: Path, cases: Sequence[Case] = CASES, plan: Plan | None = None) -> tuple[Outcome, ...]:
    cache = AnswerCache(folder, "sha256:abc")
    return asyncio.run(ask_all(cases, ask, cache, plan or Plan(), lambda done, total, cost: None))


def score_all(
    outcomes: Sequence[Outcome], scorers: Mapping[str, Scorer], schema: Mapping[str, Any] | None = None
) -> Scored:
    functions = score_functions(scorers, schema)
    return scored({name: [function(outcome) for outcome in outcomes] for name, function in functions.items()})


def test_cases_are_asked_several_at_once_and_come_back_in_order(tmp_path: Path) -> None:
    answerer = Answerer()
    outcomes = outcomes_of(answerer, tmp_path, plan=Plan(at_once=4))
    assert [outcome.case.id for outcome in outcomes] == [case.id for case in CASES]
    assert answerer.most == 4


def test_answers_are_kept_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    outcomes_of(Answerer(), tmp_path, CASES[:7])
    again = Answerer()
    outcomes = outcomes_of(again, tmp_path)
    assert len(again.asked) == 13
    assert [outcome.kept for outcome in outcomes] == [True] * 7 + [False] * 13
    assert outcomes[0].answer == FULL


def test_a_line_that_a_crash_cut_short_is_asked_again(tmp_path: Path) -> None:
    outcomes_of(Answerer(), tmp_path, CASES[:2])
    file = tmp_path / "abc.jsonl"
    file.write_text(file.read_text()[:-30])
    again = Answerer()
    outcomes_of(again, tmp_path, CASES[:2])
    assert len(again.asked) == 1
    third = Answerer()
    outcomes_of(third, tmp_path, CASES[:2])
    assert third.asked == []


SLOW = """
import asyncio, sys
from pathlib import Path
from typing import Any
from mlflow_project.evaluation.answers import AnswerCache
from mlflow_project.evaluation.asking import Plan, ask_all
from tests.evaluation.test_asking import CASES, FULL

async def ask(case):
    await asyncio.sleep(0.05)
    return FULL

asyncio.run(ask_all(CASES, ask, AnswerCache(Path(sys.argv[1]), "sha256:abc"), Plan(1), lambda *counts: None))
"""


def test_what_was_answered_before_a_kill_is_not_asked_again(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLOW, tmp_path], cwd=Path(__file__).parents[2])
    file = tmp_path / "abc.jsonl"
    while not file.exists() or file.read_text().count("\n{") < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    answered = file.read_text().count("}\n")
    again = Answerer()
    outcomes = outcomes_of(again, tmp_path)
    assert 3 <= answered < len(CASES)
    assert len(again.asked) == len(CASES) - answered
    assert all(outcome.answer == FULL for outcome in outcomes)


def test_an_outage_is_tried_again(tmp_path: Path) -> None:
    flaky = Answerer(ProviderError("down", kind="http_error", status=503, retry_after=0.01))
    (outcome,) = outcomes_of(flaky, tmp_path, CASES[:1])
    assert outcome.answer == FULL
    assert len(flaky.asked) == 2


def test_what_fails_to_the_end_is_an_outcome_without_an_answer_and_is_not_kept(tmp_path: Path) -> None:
    error = ProviderError("down", kind="timeout", retry_after=0.01)
    (outcome,) = outcomes_of(Answerer(error, error, error), tmp_path, CASES[:1], Plan(tries=3))
    assert outcome.answer is None
    assert outcome.error == "down"
    again = Answerer()
    outcomes_of(again, tmp_path, CASES[:1])
    assert again.asked == ["0"]


def test_an_answer_that_breaks_the_schema_is_the_releases_fault(tmp_path: Path) -> None:
    (outcome,) = outcomes_of(Answerer(InvalidAnswer("no label")), tmp_path, CASES[:1])
    found = score_all([outcome], SCORERS, schema={"type": "object"})
    assert found.scores["valid"][0].value == 0
    assert found.scores["correct"][0].value == 0
    assert found.scores[FAILED][0].value == 0


def test_a_budget_stops_cleanly_and_the_rest_is_asked_later(tmp_path: Path) -> None:
    purse = Purse(0.055)
    with pytest.raises(Refused, match="ends after 5 of 20 cases"):
        outcomes_of(Answerer(), tmp_path, plan=Plan(at_once=1, purse=purse))
    assert purse.spent == pytest.approx(0.05)
    again = Answerer()
    outcomes_of(again, tmp_path)
    assert len(again.asked) == 15


def test_what_was_asked_when_the_budget_ended_is_waited_for_and_kept(tmp_path: Path) -> None:
    answerer = Answerer()
    with pytest.raises(Refused):
        outcomes_of(answerer, tmp_path, plan=Plan(at_once=4, purse=Purse(0.085)))
    assert len(answerer.asked) == 8, "four at once, twice, and not the whole budget overdrawn"
    again = Answerer()
    outcomes_of(again, tmp_path)
    assert len(again.asked) == 12


def test_many_questions_that_begin_together_do_not_overdraw_the_budget(tmp_path: Path) -> None:
    answerer, purse = Answerer(), Purse(0.045)
    with pytest.raises(Refused, match="ends after 4 of 20 cases"):
        outcomes_of(answerer, tmp_path, plan=Plan(at_once=16, purse=purse))
    assert (len(answerer.asked), purse.spent) == (4, pytest.approx(0.04))


def test_one_purse_pays_for_candidate_and_champion(tmp_path: Path) -> None:
    plan = Plan(at_once=1, purse=Purse(0.255))
    outcomes_of(Answerer(), tmp_path / "candidate", plan=plan)
    with pytest.raises(Refused, match="ends after 5 of 20 cases"):
        outcomes_of(Answerer(), tmp_path / "champion", plan=plan)


def test_what_is_kept_costs_nothing_even_where_the_budget_is_spent(tmp_path: Path) -> None:
    outcomes_of(Answerer(), tmp_path)
    assert all(outcome.kept for outcome in outcomes_of(Answerer(), tmp_path, plan=Plan(purse=Purse(0.0))))


def test_a_request_that_is_wrong_is_not_sent_again(tmp_path: Path) -> None:
    answerer = Answerer(ProviderError("no such model", kind="http_error", status=404))
    (outcome,) = outcomes_of(answerer, tmp_path, CASES[:1])
    assert (outcome.answer, outcome.error, answerer.asked) == (None, "no such model", ["0"])


def test_a_scorer_that_raises_makes_its_metric_incomplete_and_no_other() -> None:
    def broken(context: ScoringContext) -> Score:
        if context.case.id == "1":
            raise ZeroDivisionError
        return Score(1.0)

    outcomes = [Outcome(case, FULL) for case in CASES[:3]]
    found = score_all(outcomes, {"broken": broken, "correct": SCORERS["correct"]})
    assert found.errors == {"broken": 1}
    assert [score.value for score in found.scores["broken"]] == [1.0, None, 1.0]
    assert [score.value for score in found.scores["correct"]] == [1.0] * 3


def test_a_case_without_an_answer_is_unscored_and_counted() -> None:
    found = score_all([Outcome(CASES[0], None, "time-out"), Outcome(CASES[1], FULL)], SCORERS)
    assert [score.value for score in found.scores["correct"]] == [None, 1.0]
    assert [score.value for score in found.scores[FAILED]] == [1.0, 0.0]


def test_a_judge_scores_by_its_schema_and_is_incomplete_where_it_does_not(tmp_path: Path) -> None:
    said = {"0": {"score": 0.8, "reason": "nearly"}, "1": {"score": 7}, "2": "good"}
    seen: list[Case] = []

    @asynccontextmanager
    async def opened():  # type: ignore[no-untyped-def]
        async def ask(case: Case) -> Answer:
            seen.append(case)
            return Answer("…", object=said[case.id])

        yield ask

    manifest = Manifest("prompt", "judge", (Message("user", "{{question}}"),), ProviderChoice("openai", "any"))
    judge = Judge(Release(1, "sha256:judge", manifest), opened)
    outcomes = [*(Outcome(case, FULL) for case in CASES[:3]), Outcome(CASES[3], None, "down")]
    cache = AnswerCache(tmp_path, "sha256:judge")
    column = asyncio.run(judge_all(outcomes, judge, cache, Plan(), lambda done, total, cost: None))
    assert column == (Score(0.8, "nearly"), None, None, Score(None, "no answer"))
    assert dict(seen[0].variables) == {"expected": "yes", "answer": "Yes.", "grounds": "Yes."}
