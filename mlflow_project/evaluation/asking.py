"""Ask every case, several at once: `ask_all(cases, ask, cache, plan, progress) -> tuple[Outcome, ...]`.

Outages are retried; what still fails is an outcome without an answer. An answer that breaks the release's schema counts
as an empty answer: that is the release's own fault. A budget stops the asking cleanly: nothing new is asked, what was
asked already is waited for; answers are kept, so that the next try goes on where this one stopped.
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
"""Called after each case: how many are done, of how many, and the USD that new answers have cost."""

_FIRST_PAUSE = 0.5
_WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 429})
"""Of HTTP's 4xx; the others say that the request itself is wrong, and the same again stays wrong."""


@dataclass
class Purse:
    """The most USD that new answers may cost together (None: no limit), for every release and judge of one evaluation.

    What is on its way is reckoned at the dearest answer so far, so that the last answers do not overdraw it.
    """

    budget: float | None = None
    spent: float = 0.0
    dearest: float = 0.0
    under_way: int = 0

    @property
    def closed(self) -> bool:
        """Whether one more answer might be too much."""
        return self.budget is not None and self.spent + self.dearest * (self.under_way + 1) > self.budget

    def pay(self, cost: float) -> None:
        """For one answer."""
        self.spent += cost
        self.dearest = max(self.dearest, cost)


@dataclass(frozen=True)
class Plan:
    """How to ask: cases at once, tries a case, and the purse that pays for new answers."""

    at_once: int = 16
    tries: int = 3
    purse: Purse = field(default_factory=Purse)


@dataclass(frozen=True)
class Outcome:
    """One case asked. `answer` None: no answer could be had, and `error` says why. `kept`: it came from the cache."""

    case: Case
    answer: Answer | None
    error: str = ""
    kept: bool = False


async def ask_all(
    cases: Sequence[Case], ask: Ask, cache: AnswerCache, plan: Plan, progress: Progress
) -> tuple[Outcome, ...]:
    """Every case's outcome, in the cases' order.

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
            f"{plan.purse.spent:.6f} USD are spent. The answers are kept: raise --budget and run again, only the rest "
            "is asked."
        )
    return tuple(found)


class _Asking:
    """One round of asking, with its count."""

    def __init__(self, ask: Ask, cache: AnswerCache, plan: Plan, progress: Progress, total: int) -> None:
        self._ask, self._cache, self._plan, self._progress = ask, cache, plan, progress
        self._total, self._done = total, 0

    async def outcome(self, case: Case) -> Outcome | None:
        """None: there is no money left for this case."""
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
            purse.pay(purse.dearest)  # what it cost is not told
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
