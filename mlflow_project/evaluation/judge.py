"""A language model judges answers by a rubric. The rubric is a prompt version, so the judge is a release like any
other.

In: answered cases, and the way to ask the judge. Its template has the slots `question`, `expected`, `answer` and
`grounds`. Its response schema must contain `score` (0 to 1) and may contain `reason`. Out: one `Score` per case. A case
that the judge could not judge makes the metric incomplete, and the gate refuses on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from mlflow_project.domain.answer import Case
from mlflow_project.domain.release import Release
from mlflow_project.domain.verdict import Score
from mlflow_project.evaluation.answers import AnswerCache
from mlflow_project.evaluation.asking import Ask, Outcome, Plan, Progress, ask_all

METRIC = "judge"


@dataclass(frozen=True)
class Judge:
    """The release that judges, and how it is asked."""

    release: Release
    opened: Callable[[], AbstractAsyncContextManager[Ask]]


async def judge_all(
    outcomes: Sequence[Outcome], judge: Judge, cache: AnswerCache, plan: Plan, progress: Progress
) -> tuple[Score | None, ...]:
    """One score per outcome; None if the judge failed.

    Raises:
        Refused: the budget is spent.
    """
    answered = [outcome for outcome in outcomes if outcome.answer is not None]
    async with judge.opened() as ask:
        judgements = await ask_all([_asked(outcome) for outcome in answered], ask, cache, plan, progress)
    scores = {judgement.case.id: _score(judgement) for judgement in judgements}
    return tuple(scores.get(outcome.case.id, Score(None, "no answer")) for outcome in outcomes)


def _asked(outcome: Outcome) -> Case:
    case, answer = outcome.case, outcome.answer
    assert answer is not None
    grounds = [case.context] if case.context else [chunk.text for chunk in answer.contexts]
    variables = {
        "expected": "\n".join(case.expected) or "There is no answer: the right one is to say so.",
        "answer": answer.text or "",
        "grounds": "\n\n".join(grounds),
    }
    return Case(case.id, case.question, variables=variables)


def _score(judgement: Outcome) -> Score | None:
    judged = judgement.answer.object if judgement.answer else None
    if not isinstance(judged, dict):
        return None
    value = judged.get("score")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return None
    return Score(float(value), str(judged.get("reason", ""))[:500])
