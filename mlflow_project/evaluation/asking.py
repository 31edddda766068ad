"""Ask every case, several at once: `ask_all(cases, ask, cache, plan, progress) -> tuple[Outcome, ...]`.

Outages are retried; what still fails is an outcome without an answer. An answer that breaks the release's schema counts
as an empty answer: that is the release's own fault. A budget stops the asking cleanly; answers are kept, so that the
next try goes on where this one stopped.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mlflow_project.domain.answer import Answer, Case
from mlflow_project.errors import InvalidAnswer, ProviderError, Refused, Unavailable
from mlflow_project.evaluation.answers import AnswerCache

Ask = Callable[[Case], Awaitable[Answer]]
Progress = Callable[[int, int, float], None]
"""Called after each case: how many are done, of how many, and the USD that new answers have cost."""

_FIRST_PAUSE = 0.5


@dataclass(frozen=True)
class Plan:
    """How to ask: cases at once, tries a case, and the most USD that new answers may cost (None: no limit)."""

    at_once: int = 16
    tries: int = 3
    budget_usd: float | None = None


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
    outcomes: dict[int, Outcome] = {}

    async def work() -> None:
        for number, case in waiting:
            outcomes[number] = await asking.outcome(case)

    workers = [asyncio.create_task(work()) for _ in range(min(plan.at_once, len(cases)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
    return tuple(outcomes[number] for number in range(len(cases)))


class _Asking:
    """One round of asking, with its count and its purse."""

    def __init__(self, ask: Ask, cache: AnswerCache, plan: Plan, progress: Progress, total: int) -> None:
        self._ask, self._cache, self._plan, self._progress = ask, cache, plan, progress
        self._total, self._done, self._spent = total, 0, 0.0

    async def outcome(self, case: Case) -> Outcome:
        kept = self._cache.get(case)
        outcome = Outcome(case, kept, kept=True) if kept else await self._answered(case)
        self._done += 1
        self._progress(self._done, self._total, self._spent)
        return outcome

    async def _answered(self, case: Case) -> Outcome:
        self._check_budget()
        try:
            answer = await self._tried(case)
        except InvalidAnswer as error:
            return Outcome(case, Answer(None, finish_reason="invalid"), str(error))
        except Unavailable as error:
            return Outcome(case, None, str(error))
        self._spent += answer.cost_usd or 0.0
        self._cache.put(case, answer)
        return Outcome(case, answer)

    async def _tried(self, case: Case) -> Answer:
        for number in range(1, self._plan.tries):
            try:
                return await self._ask(case)
            except Unavailable as error:
                asked_for = error.retry_after if isinstance(error, ProviderError) else None
                await asyncio.sleep(asked_for or _FIRST_PAUSE * 2 ** (number - 1) * random.uniform(0.5, 1.5))
        return await self._ask(case)

    def _check_budget(self) -> None:
        budget = self._plan.budget_usd
        if budget is not None and self._spent >= budget:
            raise Refused(
                f"The budget of {budget:g} USD is spent after {self._done} of {self._total} cases: "
                f"{self._spent:.4f} USD. The answers are kept: raise --budget and run again, only the rest is asked."
            )
