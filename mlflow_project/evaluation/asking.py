"""Ask every case, several at once: `ask_all(cases, ask, cache, plan, progress) -> tuple[Outcome, ...]`.

`pace` decides how many cases are asked at the same time. An outage is retried; a case that still fails becomes an
outcome without an answer, and several such cases in a row end the evaluation. An answer that breaks the release's
schema counts as an empty answer, because that is the release's own fault. When the budget is spent, nothing more is
asked, and answers that are on their way are awaited. Answers are kept, so the next evaluation asks only the rest.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from mlflow_project.domain.answer import Answer, Case
from mlflow_project.errors import InvalidAnswer, ProviderError, Refused, Unavailable
from mlflow_project.evaluation.answers import AnswerCache
from mlflow_project.evaluation.pace import Crowded, Pace

Ask = Callable[[Case], Awaitable[Answer]]
Progress = Callable[[int, int, float], None]
"""Called with the number of cases done, the number of all cases, and the USD that new answers cost: once before the
first question, with the cases whose answers were kept, and after each answer."""

_FIRST_PAUSE = 0.5
_CROWDED_TRIES = 8
"""Failures of one case beside others that do not count as its tries."""
_FAILURES_IN_A_ROW = 5
"""Cases without an answer, one after the other, after which the provider counts as down."""
_WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 429})
"""HTTP's 4xx that may pass. The others say that the request itself is wrong, so a second one would fail too."""


@dataclass
class Purse:
    """The most USD that new answers of one evaluation may cost together, its judge's included (None: no limit).

    Answers on their way count as much as the dearest answer so far, so that the last ones do not exceed the budget.
    """

    budget: float | None = None
    spent: float = 0.0
    dearest: float = 0.0
    under_way: int = 0

    @property
    def closed(self) -> bool:
        """Whether one more answer might exceed the budget."""
        return self.budget is not None and self.spent + self.dearest * (self.under_way + 1) > self.budget

    def pay(self, cost: float) -> None:
        """Count the cost of one answer."""
        self.spent += cost
        self.dearest = max(self.dearest, cost)


@dataclass(frozen=True)
class Plan:
    """How to ask: how many cases at once at most, how many tries per case, and the budget."""

    at_once: int = 16
    tries: int = 3
    purse: Purse = field(default_factory=Purse)


@dataclass(frozen=True)
class Outcome:
    """A case and its answer. If `answer` is None, `error` says why. `kept`: the answer came from the cache."""

    case: Case
    answer: Answer | None
    error: str = ""
    kept: bool = False


async def ask_all(
    cases: Sequence[Case], ask: Ask, cache: AnswerCache, plan: Plan, progress: Progress
) -> tuple[Outcome, ...]:
    """The outcome of every case, in the order of the cases.

    Raises:
        Refused: the budget is spent before every case is answered.
        Unavailable: several cases in a row got no answer.
    """
    found = {case.id: Outcome(case, answer, kept=True) for case in cases if (answer := cache.get(case))}
    progress(len(found), len(cases), plan.purse.spent)
    missing = [case for case in cases if case.id not in found]
    asking, waiting = _Asking(ask, cache, plan), iter(missing)

    async def work() -> None:
        for case in waiting:
            try:
                found[case.id] = await asking.outcome(case)
            except _BudgetSpent:
                return
            progress(len(found), len(cases), plan.purse.spent)

    workers = [asyncio.create_task(work()) for _ in range(min(plan.at_once, len(missing)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
    if len(found) < len(cases):
        raise Refused(
            f"The budget of {plan.purse.budget:g} USD ends after {len(found)} of {len(cases)} cases: "
            f"{plan.purse.spent:.6f} USD are spent. The answers are kept. Raise --budget and run again: only the rest "
            "is asked."
        )
    return tuple(found[case.id] for case in cases)


class _BudgetSpent(Exception):
    """One more answer might exceed the budget, so the case was not asked."""


class _Asking:
    """Asks cases, and counts how many failed in a row."""

    def __init__(self, ask: Ask, cache: AnswerCache, plan: Plan) -> None:
        self._ask, self._cache, self._plan = ask, cache, plan
        self._pace = Pace(plan.at_once)
        self._failed_in_a_row = 0

    async def outcome(self, case: Case) -> Outcome:
        try:
            answer = await self._tried(case)
        except InvalidAnswer as error:
            self._failed_in_a_row = 0
            return Outcome(case, Answer(None, finish_reason="invalid"), str(error))
        except Unavailable as error:
            self._count_failure(error)
            return Outcome(case, None, str(error))
        self._failed_in_a_row = 0
        self._cache.put(case, answer)
        return Outcome(case, answer)

    async def _tried(self, case: Case) -> Answer:
        failed = crowded = 0
        while True:
            try:
                async with self._pace.turn():
                    return await self._paid(case)
            except Crowded as crowd:
                error, crowded = crowd.error, crowded + 1
                failed += crowded > _CROWDED_TRIES
            except Unavailable as alone:
                if not _is_worth_another_try(alone):
                    raise
                error, failed = alone, failed + 1
            if failed >= self._plan.tries:
                raise error
            asked_for = error.retry_after if isinstance(error, ProviderError) else None
            await asyncio.sleep(asked_for or _FIRST_PAUSE * 2 ** max(0, failed - 1) * random.uniform(0.5, 1.5))

    async def _paid(self, case: Case) -> Answer:
        """Ask, and pay at once, so that nobody sees a budget without this answer. Raises _BudgetSpent."""
        purse = self._plan.purse
        if purse.closed:
            raise _BudgetSpent
        purse.under_way += 1
        try:
            answer = await self._ask(case)
        except InvalidAnswer:
            purse.pay(purse.dearest)  # its cost is unknown
            raise
        finally:
            purse.under_way -= 1
        purse.pay(answer.cost_usd or 0.0)
        return answer

    def _count_failure(self, error: Unavailable) -> None:
        if not _is_worth_another_try(error):
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= _FAILURES_IN_A_ROW:
            raise Unavailable(
                f"The last {_FAILURES_IN_A_ROW} cases got no answer, each after {self._plan.tries} tries or more. The "
                f"last one failed so: {error} The answers that came are kept. Run the command again when the provider "
                "answers: only the rest is asked."
            ) from error


def _is_worth_another_try(error: Unavailable) -> bool:
    status = error.status if isinstance(error, ProviderError) else None
    return status is None or status >= 500 or status in _WORTH_ANOTHER_TRY
