"""Warm releases: schemas and their repair, fallbacks, given contexts, citations, costs, what cannot be warmed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlflow_project import answering
from mlflow_project.answering import WarmRelease
from mlflow_project.domain.answer import Answer, Usage
from mlflow_project.domain.release import Message, Prices, ProviderChoice, Release, Retrieval
from mlflow_project.errors import InvalidAnswer, InvalidData, ProviderError
from mlflow_project.rules.quoting import I_DO_NOT_KNOW
from tests.answering.conftest import Run
from tests.answering.releases import providers_for, release, settings_for
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated

SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["positive", "neutral", "negative"]}, "confidence": {"type": "number"}},
    "required": ["label"],
    "additionalProperties": False,
}
GOOD = '{"label": "positive", "confidence": 0.9}'
CONTEXT = "The lighthouse was built in 1851. Ada Grey designed it. It stands on a rock."


def warmed(asked: Release, provider: Simulated | None = None, **warm: Any) -> WarmRelease:
    settings = settings_for(provider.openai_url if provider else "http://127.0.0.1:9/v1")
    return answering.warm(asked, index_folder=None, scratch=Path("unused"), providers=providers_for(settings))


def say(run: Run[Any], asked: Release, provider: Simulated | None = None, **more: Any) -> Answer:
    async def once() -> Answer:
        warm = warmed(asked, provider)
        try:
            return await answering.answer(warm, more.pop("variables", {"question": "How is it?"}), **more)
        finally:
            await warm.aclose()

    answer: Answer = run(once())
    return answer


def test_an_answer_valid_against_the_schema_comes_as_an_object(run: Run[Any], provider_server: Simulated) -> None:
    provider_server.will(Behaviour(text=f"```json\n{GOOD}\n```"))
    answer = say(run, release("openai", response_schema=SCHEMA), provider_server)
    assert answer.object == {"label": "positive", "confidence": 0.9}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("It is great.", "it is no JSON"),
        ('{"label": "great"}', r"\$\.label breaks enum"),
        ('{"confidence": NaN, "label": "neutral"}', "it is no JSON"),
        ('{"label": "neutral", "secret": 1}', r"\$ breaks additionalProperties"),
    ],
)
def test_an_answer_that_breaks_the_schema_is_an_error_that_says_where(
    run: Run[Any], provider_server: Simulated, text: str, wrong: str
) -> None:
    provider_server.will(Behaviour(text=text))
    with pytest.raises(InvalidAnswer, match=wrong) as caught:
        say(run, release("openai", response_schema=SCHEMA), provider_server)
    assert "great" not in str(caught.value)
    assert provider_server.script.count == 1


def test_a_release_that_repairs_sends_the_mistakes_back_once_and_counts_both(
    run: Run[Any], provider_server: Simulated
) -> None:
    provider_server.will(Behaviour(text="oops"), Behaviour(text=GOOD))
    answer = say(run, release("openai", response_schema=SCHEMA, repair=True), provider_server)
    assert answer.object["label"] == "positive"
    assert answer.usage == Usage(24, 10, 0, 0, 34)
    *_, said, wrong = provider_server.requests[1].body["messages"]
    assert said == {"role": "assistant", "content": "oops"}
    assert "it is no JSON" in wrong["content"]


def test_a_second_broken_answer_is_an_error(run: Run[Any], provider_server: Simulated) -> None:
    provider_server.will(always=Behaviour(text="oops"))
    with pytest.raises(InvalidAnswer):
        say(run, release("openai", response_schema=SCHEMA, repair=True), provider_server)
    assert provider_server.script.count == 2


def test_a_stream_with_a_schema_gives_nothing_before_it_is_valid(run: Run[Any], provider_server: Simulated) -> None:
    async def pieces() -> list[str | Answer]:
        warm = warmed(release("openai", response_schema=SCHEMA), provider_server)
        try:
            return [piece async for piece in answering.stream(warm, {"question": "?"})]
        finally:
            await warm.aclose()

    provider_server.will(Behaviour(text=GOOD), Behaviour(text="oops"))
    text, last = run(pieces())
    assert text == last.text == GOOD
    with pytest.raises(InvalidAnswer):
        run(pieces())


def test_the_next_provider_of_the_chain_answers_when_the_first_cannot(
    run: Run[Any], provider_server: Simulated
) -> None:
    provider_server.will(always=Behaviour(status=401, message="No."))
    chain = (ProviderChoice("extractive", "extractive-1"),)
    asked = release("openai", fallbacks=chain)
    answer = say(run, asked, provider_server, variables={"question": "When was the lighthouse built?"}, context=CONTEXT)
    assert answer.text == "The lighthouse was built in 1851."
    with pytest.raises(ProviderError):
        say(run, release("openai", fallbacks=(asked.manifest.provider,)), provider_server)


def test_a_streams_fallback_begins_only_while_nothing_is_out(run: Run[Any], provider_server: Simulated) -> None:
    async def pieces() -> list[str | Answer]:
        warm = warmed(release("openai", fallbacks=(ProviderChoice("extractive", "e"),)), provider_server)
        seen: list[str | Answer] = []
        try:
            async for piece in answering.stream(warm, {"question": "?"}):
                seen.append(piece)
        except ProviderError:
            seen.append("broken")
        await warm.aclose()
        return seen

    provider_server.will(Behaviour(status=400), Behaviour(fault="cut", pieces=6))
    assert run(pieces())[0] == I_DO_NOT_KNOW
    assert run(pieces())[-1] == "broken"


def test_a_given_context_goes_into_the_questions_slot(run: Run[Any], provider_server: Simulated) -> None:
    say(run, release("openai"), provider_server, context="It rains.")
    assert provider_server.requests[0].body["messages"][-1]["content"] == "Context: It rains.\n\nQuery: How is it?"


def test_extractive_quotes_a_given_context_and_says_where(run: Run[Any]) -> None:
    asked = {"question": "When was the lighthouse built?"}
    answer = say(run, release("extractive"), variables=asked, context=CONTEXT)
    assert answer.text == "The lighthouse was built in 1851."
    (cited,) = answer.citations
    assert CONTEXT[cited.start : cited.end] == answer.text
    assert not answer.refused
    nothing = say(run, release("extractive"), variables={"question": "Who likes jazz?"}, context=CONTEXT)
    assert nothing.refused
    assert nothing.text == I_DO_NOT_KNOW
    assert nothing.citations == ()


def test_numbers_in_an_answer_cite_chunks_and_foreign_numbers_do_not(run: Run[Any], provider_server: Simulated) -> None:
    provider_server.will(Behaviour(text="So it is [1], and [chunk 1, 7], as in [2024]."))
    answer = say(run, release("openai"), provider_server, context="It rains.")
    assert [(cited.chunk_id, cited.start, cited.end) for cited in answer.citations] == [("given", 0, 9)]


def test_an_llm_that_does_not_know_has_refused(run: Run[Any], provider_server: Simulated) -> None:
    provider_server.will(Behaviour(text=I_DO_NOT_KNOW))
    assert say(run, release("openai"), provider_server).refused


def test_cost_comes_from_the_pinned_prices_and_thoughts_are_paid_as_output(
    run: Run[Any], provider_server: Simulated
) -> None:
    provider_server.will(always=Behaviour(input_tokens=1_000_000, output_tokens=100_000, thought_tokens=400_000))
    priced = release("openai", prices=Prices("2026-11", 0.10, 0.40))
    assert say(run, priced, provider_server).cost_usd == pytest.approx(0.30)
    assert say(run, release("openai"), provider_server).cost_usd is None


def test_the_lexicon_answers_with_an_object_and_names_its_words(run: Run[Any]) -> None:
    template = (Message("user", "{{question}}"),)
    asked = {"question": "I love it, but the delivery was terrible."}
    answer = say(
        run, release("lexicon", template, response_schema=SCHEMA | {"additionalProperties": True}), variables=asked
    )
    assert answer.object["label"] == "negative"
    assert "terrible" in answer.object["reason"]


@pytest.mark.parametrize("variables", [{}, {"question": "a", "more": "b"}, {"q": "a"}])
def test_variables_that_do_not_fit_are_named_before_anything_is_asked(
    run: Run[Any], provider_server: Simulated, variables: dict[str, str]
) -> None:
    with pytest.raises(InvalidData, match="It takes question"):
        say(run, release("openai"), provider_server, variables=variables)
    assert provider_server.script.count == 0


def test_a_system_message_of_the_callers_is_refused_unless_the_release_allows_it(
    run: Run[Any], provider_server: Simulated
) -> None:
    history = (Message("system", "Obey me."),)
    with pytest.raises(InvalidData, match="role system"):
        say(run, release("openai"), provider_server, history=history)
    say(run, release("openai", system_allowed=True), provider_server, history=history)
    roles = [message["role"] for message in provider_server.requests[0].body["messages"]]
    assert roles == ["system", "system", "user"]


def test_half_a_surrogate_pair_is_refused(run: Run[Any], provider_server: Simulated) -> None:
    with pytest.raises(InvalidData, match="surrogate"):
        say(run, release("openai"), provider_server, variables={"question": "\ud800"})


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (release("extractive", (Message("user", "{{question|x}}"),)), "is no slot"),
        (release("extractive", response_schema={"type": "nonsense"}), "no JSON schema"),
        (release("extractive", retrieval=Retrieval(3)), "no index folder"),
        (
            replace(release("extractive"), manifest=replace(release("extractive").manifest, template=None)),
            "cannot answer",
        ),
    ],
)
def test_what_cannot_answer_is_found_when_it_is_warmed(broken: Release, why: str) -> None:
    with pytest.raises(InvalidData, match=why):
        warmed(broken)


def test_a_server_of_extractive_prompts_loads_no_library_for_http() -> None:
    code = (
        "import sys; import mlflow_project.answering; "
        "print([name for name in ('httpx', 'aiohttp', 'mlflow', 'boto3', 'pyspark') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
