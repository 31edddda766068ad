"""The parts of the providers that need no network: breaker, budget, schemas, word lists."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_project.adapters.providers import Providers
from mlflow_project.adapters.providers.complaint import LONGEST, complaint, retry_after
from mlflow_project.adapters.providers.gemini import gemini_schema
from mlflow_project.adapters.providers.health import FAILURES, MOST_RETRIES, PAUSE_SECONDS, Health
from mlflow_project.adapters.providers.protocol import count
from mlflow_project.domain.release import ProviderChoice
from mlflow_project.errors import InvalidData, ProviderError
from mlflow_project.rules.masking import Masker
from mlflow_project.rules.sentiment import sentiment_of
from mlflow_project.settings import ProviderSettings

PROVIDERS = Providers(ProviderSettings(llm_api_url="http://x/v1"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_breaker_opens_after_failures_in_a_row_and_lets_one_try_through_after_its_pause() -> None:
    clock = Clock()
    health = Health(clock)
    for _ in range(FAILURES):
        health.admit("X")
        health.failed()
    with pytest.raises(ProviderError) as caught:
        health.admit("X")
    assert caught.value.kind == "circuit_open"
    assert 0 < (caught.value.retry_after or 0) <= 1.2 * PAUSE_SECONDS
    clock.now += 1.2 * PAUSE_SECONDS
    health.admit("X")
    with pytest.raises(ProviderError):
        health.admit("X")
    health.answered(200)
    health.admit("X")


def test_a_success_between_failures_keeps_the_breaker_closed() -> None:
    health = Health()
    for _ in range(3 * FAILURES):
        health.admit("X")
        health.failed()
        health.answered(200)
    health.admit("X")


def test_retries_are_a_share_of_the_requests() -> None:
    health = Health()
    assert sum(health.take_retry() for _ in range(100)) == MOST_RETRIES
    for _ in range(11):
        health.admit("X")
    assert [health.take_retry() for _ in range(4)] == [True, True, False, False]


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    assert retry_after("7") == 7
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 < (retry_after(in_a_minute) or 0) <= 60
    assert [retry_after(value) for value in (None, "", "soon", "-3")] == [None, None, None, 0]


def test_a_schema_is_reduced_to_what_gemini_knows() -> None:
    schema = {
        "$schema": "x",
        "type": "object",
        "properties": {"a": {"const": "x"}, "b": {"type": "array", "items": {"type": "string", "$comment": "c"}}},
        "additionalProperties": False,
    }
    assert gemini_schema(schema) == {
        "type": "object",
        "properties": {"a": {"enum": ["x"], "type": "string"}, "b": {"type": "array", "items": {"type": "string"}}},
    }


@pytest.mark.parametrize("name", ["extractive", "lexicon", "anthropic", "gemini", "openai"])
def test_an_unknown_parameter_is_refused_and_the_known_ones_are_named(name: str) -> None:
    with pytest.raises(InvalidData, match="no parameter temprature"):
        PROVIDERS.provider_for(ProviderChoice(name, "m", {"temprature": 1}))


@pytest.mark.parametrize("wrong", [{"floor": 2}, {"floor": "high"}, {"sentences": 0}, {"words_weight": True}])
def test_a_parameter_out_of_its_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidData, match="must be a number"):
        PROVIDERS.provider_for(ProviderChoice("extractive", "m", wrong))


def test_an_unknown_provider_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(InvalidData, match="extractive, lexicon, anthropic, gemini, openai"):
        PROVIDERS.provider_for(ProviderChoice("oracle", "m"))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I love it, works great!", "positive"),
        ("Not good at all, the app crashes constantly", "negative"),
        ("The parcel arrived on Tuesday.", "neutral"),
        ("The food was good but the service was terrible", "negative"),
        ("It isn’t bad, I was pleasantly surprised and happy", "positive"),
        ("", "neutral"),
    ],
)
def test_the_word_list_says_positive_neutral_or_negative(text: str, label: str) -> None:
    assert sentiment_of(text).label == label


def test_the_words_that_decided_are_named() -> None:
    assert sentiment_of("Very good, never late").reason == "Words that decided: positive: very good, never late."


@given(st.text())
def test_any_text_has_a_sentiment_with_a_confidence(text: str) -> None:
    found = sentiment_of(text)
    assert 0 <= found.confidence <= 1
    assert len(found.reason) <= 500


def test_a_complaint_is_masked_before_it_is_cut_so_that_no_half_of_a_number_is_left() -> None:
    card = "4111 1111 1111 1111"
    for before in range(LONGEST - len(card) - 8, LONGEST):
        said = complaint(
            400, orjson.dumps({"error": {"message": "x" * before + f" {card} is no question"}}), "", (), Masker()
        )
        assert "4111" not in said


def test_a_complaint_is_masked_with_the_sites_own_patterns() -> None:
    body = orjson.dumps({"error": {"message": "ticket TCK-4711 is unknown"}})
    assert complaint(400, body, "", (), Masker({"ticket": r"TCK-\d+"})) == "ticket [ticket] is unknown"


def test_a_count_of_tokens_is_a_number_or_was_not_reported() -> None:
    assert [count(value) for value in (0, 12)] == [0, 12]
    assert {count(value) for value in (None, "12", 1.5, True, -1, [], {})} == {None}
