"""An evaluation asks as many questions at once as its provider bears: slow providers make it slow, never wrong."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlflow_project.domain.answer import Answer, Case
from mlflow_project.domain.release import Manifest, Message, ProviderChoice, Release
from mlflow_project.errors import ProviderError, Unavailable
from mlflow_project.evaluation.answers import AnswerCache
from mlflow_project.evaluation.asking import Outcome, Plan, ask_all
from mlflow_project.evaluation.opening import opening
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import ProviderSettings
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated, provider_server

__all__ = ["provider_server"]


@dataclass
class Evaluator:
    """Asks cases of a release as an evaluation does: by `opening` and `ask_all`, over TCP."""

    provider: Simulated
    folder: Path

    def asks(self, count: int, plan: Plan | None = None, **parameters: Any) -> tuple[Outcome, ...]:
        choice = ProviderChoice("openai", "simulated", {"total_seconds": 10, **parameters})
        manifest = Manifest("prompt", "qa", (Message("user", "{{question}}"),), choice)
        release = Release(1, manifest_digest(manifest), manifest)
        settings = ProviderSettings(llm_api_url=self.provider.openai_url, llm_api_key=None)
        opened = opening(release, None, self.folder, settings, Masker())  # type: ignore[arg-type]
        cases = [Case(str(number), f"Question {number}?", ("yes",)) for number in range(count)]
        cache = AnswerCache(self.folder, "sha256:abc")

        async def ask() -> tuple[Outcome, ...]:
            async with opened() as asking:
                return await ask_all(cases, asking, cache, plan or Plan(), lambda done, total, cost: None)

        return asyncio.run(ask())


@pytest.fixture
def evaluator(provider_server: Simulated, tmp_path: Path) -> Evaluator:
    return Evaluator(provider_server, tmp_path)


def failures(outcomes: tuple[Outcome, ...]) -> list[str]:
    return [outcome.error for outcome in outcomes if outcome.answer is None]


def test_behind_one_slot_every_case_is_answered_though_all_together_take_longer_than_any_time_limit(
    evaluator: Evaluator, provider_server: Simulated
) -> None:
    provider_server.will(always=Behaviour(latency_ms=100, slots=1))
    outcomes = evaluator.asks(20, first_byte_seconds=0.35, total_seconds=0.9)
    assert failures(outcomes) == []
    assert len(provider_server.requests) == 20, "none was given up and asked again"
    assert not any(request.left for request in provider_server.requests)
    assert provider_server.script.most_running <= 4, "waiting in line would be measured as the release's latency"


def test_a_wide_provider_is_soon_asked_as_much_as_allowed(evaluator: Evaluator, provider_server: Simulated) -> None:
    provider_server.will(always=Behaviour(latency_ms=100))
    began = time.monotonic()
    outcomes = evaluator.asks(160)
    assert failures(outcomes) == []
    assert provider_server.script.most_running == 16
    assert time.monotonic() - began < 3, "one after the other takes 16 s, sixteen at once 1 s"


def test_a_provider_whose_answers_take_different_times_is_asked_many_at_once(
    evaluator: Evaluator, provider_server: Simulated
) -> None:
    provider_server.will(always=Behaviour(latency_ms=50, spread=0.7))
    assert failures(evaluator.asks(200)) == []
    assert provider_server.script.most_running >= 8


def test_four_slots_are_all_used(evaluator: Evaluator, provider_server: Simulated) -> None:
    provider_server.will(always=Behaviour(latency_ms=100, slots=4))
    began = time.monotonic()
    assert failures(evaluator.asks(60)) == []
    assert time.monotonic() - began < 3, "one after the other takes 6 s, four at once 1.5 s"


@pytest.mark.parametrize("status", [429, 503])
def test_a_provider_that_turns_away_what_it_has_no_slot_for_answers_every_case_in_the_end(
    evaluator: Evaluator, provider_server: Simulated, status: int
) -> None:
    provider_server.will(always=Behaviour(latency_ms=50, slots=2, busy_status=status))
    assert failures(evaluator.asks(40)) == []


def test_a_provider_that_becomes_slow_in_the_middle_answers_every_case(
    evaluator: Evaluator, provider_server: Simulated
) -> None:
    quick, slow = Behaviour(latency_ms=20), Behaviour(latency_ms=100, slots=1)
    provider_server.will(*[quick] * 60, always=slow)
    assert failures(evaluator.asks(90, first_byte_seconds=0.4, total_seconds=0.8)) == []


def test_a_provider_that_is_down_ends_the_evaluation_with_its_reason(
    evaluator: Evaluator, provider_server: Simulated
) -> None:
    provider_server.will(*[Behaviour()] * 3, always=Behaviour(status=500, message="out of memory"))
    with pytest.raises(Unavailable, match=r"The last 5 cases got no answer.*out of memory"):
        evaluator.asks(100, Plan(tries=1), tries=1)
    assert len(provider_server.requests) < 20
    provider_server.will()
    outcomes = evaluator.asks(100)
    assert sum(outcome.kept for outcome in outcomes) == 3, "what was answered is kept"
    assert failures(outcomes) == []


def test_a_case_that_never_gets_an_answer_fails_alone(tmp_path: Path) -> None:
    async def ask(case: Case) -> Answer:
        await asyncio.sleep(0.002)
        if case.id == "30":
            raise ProviderError("too long", kind="timeout", retry_after=0.01)
        return Answer("Yes.")

    cases = [Case(str(number), f"Question {number}?", ("yes",)) for number in range(100)]
    cache = AnswerCache(tmp_path, "sha256:abc")
    outcomes = asyncio.run(ask_all(cases, ask, cache, Plan(), lambda done, total, cost: None))
    assert {outcome.case.id: outcome.error for outcome in outcomes if outcome.answer is None} == {"30": "too long"}
