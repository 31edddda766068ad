"""Ask every case, several at once: `ask_all(cases, ask, cache, plan, progress) -> tuple[Outcome, ...]`.

An outage is retried; a case that still fails becomes an outcome without an answer. An answer that breaks the release's
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

Ask = Callable[[Case], Awaitable[Answer]]
Progress = Callable[[int, int, float], None]
"""Called after each case: the number of cases done, the number of all cases, and the USD that new answers cost."""

_FIRST_PAUSE = 0.5
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
    """How to ask: how many cases at once, how many tries per case, and the budget."""

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
    """
    asking = _Asking(ask, cache, plan, progress, len(cases))
    waiting = iter(enumerate(cases))
    outcomes: dict[int, Outcome | None] = {}

    async def work() -> None:
        for number, case in waiting:
            outcomes[number] = await asking.outcome(case)

    workers = [asyncio.create_task(work()) for _ in range(min(plan.at_once, len(cases)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
    found = [outcome for number in range(len(cases)) if (outcome := outcomes[number])]
    if len(found) < len(cases):
        raise Refused(
            f"The budget of {plan.purse.budget:g} USD ends after {len(found)} of {len(cases)} cases: "
            f"{plan.purse.spent:.6f} USD are spent. The answers are kept. Raise --budget and run again: only the rest "
            "is asked."
        )
    return tuple(found)


class _Asking:
    """Asks cases and counts how many are done."""

    def __init__(self, ask: Ask, cache: AnswerCache, plan: Plan, progress: Progress, total: int) -> None:
        self._ask, self._cache, self._plan, self._progress = ask, cache, plan, progress
        self._total, self._done = total, 0

    async def outcome(self, case: Case) -> Outcome | None:
        """Returns None if the budget does not allow for this case."""
        kept = self._cache.get(case)
        if kept is None and self._plan.purse.closed:
            return None
        outcome = Outcome(case, kept, kept=True) if kept else await self._answered(case)
        self._done += 1
        self._progress(self._done, self._total, self._plan.purse.spent)
        return outcome

    async def _answered(self, case: Case) -> Outcome:
        purse = self._plan.purse
        try:
            answer = await self._tried(case)
        except InvalidAnswer as error:
            purse.pay(purse.dearest)  # its cost is unknown
            return Outcome(case, Answer(None, finish_reason="invalid"), str(error))
        except Unavailable as error:
            return Outcome(case, None, str(error))
        purse.pay(answer.cost_usd or 0.0)
        self._cache.put(case, answer)
        return Outcome(case, answer)

    async def _tried(self, case: Case) -> Answer:
        purse = self._plan.purse
        purse.under_way += 1
        try:
            for number in range(1, self._plan.tries):
                try:
                    return await self._ask(case)
                except Unavailable as error:
                    if not _is_worth_another_try(error):
                        raise
                    asked_for = error.retry_after if isinstance(error, ProviderError) else None
                    await asyncio.sleep(asked_for or _FIRST_PAUSE * 2 ** (number - 1) * random.uniform(0.5, 1.5))
            return await self._ask(case)
        finally:
            purse.under_way -= 1


def _is_worth_another_try(error: Unavailable) -> bool:
    status = error.status if isinstance(error, ProviderError) else None
    return status is None or status >= 500 or status in _WORTH_ANOTHER_TRY
