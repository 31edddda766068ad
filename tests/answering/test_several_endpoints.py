"""Several endpoints in one process: whom each release asks, with which key, and what each endpoint bears."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mlflow_project import answering
from mlflow_project.adapters.providers import Providers
from mlflow_project.answering import WarmRelease
from mlflow_project.domain.release import Manifest, ProviderChoice, Release
from mlflow_project.errors import ConfigError, ProviderError
from mlflow_project.settings import ProviderSettings
from tests.answering.conftest import Run
from tests.answering.releases import KEY, OPENED, TEMPLATE
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated

QUESTION = {"question": "Why does the moon not fall down on us?"}
KEYS = {"EU_KEY": "eu-key-that-must-stay-secret-1", "US_KEY": "us-key-that-must-stay-secret-2"}
FILE = """
endpoints:
  eu: {{protocol: gemini, url: "{base}/eu", key: {{env: EU_KEY}}, headers: {{x-team: moon}}}}
  us: {{protocol: anthropic, url: "{base}/us", key: {{env: US_KEY}}}}
  narrow: {{protocol: openai, url: "{base}/narrow/v1", limits: {{concurrent: 1, total_seconds: 2}}}}
  hasty: {{protocol: openai, url: "{base}/hasty/v1", limits: {{concurrent: 1, queue_seconds: 0.1}}}}
  behind: {{protocol: openai, url: "http://models.invalid/v1", proxy: "{base}"}}
  keyless: {{preset: anthropic, key: {{env: NOT_SET_ANYWHERE}}}}
"""
EU, US = ProviderChoice("gemini", "g", {"tries": 1}, "eu"), ProviderChoice("anthropic", "a", {"tries": 1}, "us")


@pytest.fixture
def providers(tmp_path: Path, provider_server: Simulated, monkeypatch: pytest.MonkeyPatch) -> Providers:
    """Providers with the endpoints of the file; `run` closes them."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "providers.yaml"
    path.write_text(FILE.format(base=f"http://127.0.0.1:{provider_server.port}"))
    settings = ProviderSettings(
        llm_api_url=provider_server.openai_url, llm_api_key=SecretStr(KEY), SWITCHYARD_PROVIDERS=path
    )
    OPENED.append(Providers(settings))
    return OPENED[-1]


def warmed(providers: Providers, *choices: ProviderChoice) -> WarmRelease:
    manifest = Manifest("prompt", "qa", TEMPLATE, choices[0], fallbacks=choices[1:] or None)
    made = Release(1, "sha256:" + "0" * 64, manifest)
    return answering.warm(made, index_folder=None, scratch=None, providers=providers)  # type: ignore[arg-type]


async def asked(warm: WarmRelease) -> str | None:
    return (await answering.answer(warm, QUESTION)).text


def at(endpoint: str, **parameters: float) -> ProviderChoice:
    return ProviderChoice("openai", "m", {"tries": 1, **parameters}, endpoint)


def test_each_release_asks_its_own_endpoint_with_its_own_key_and_headers(
    run: Run[Any], provider_server: Simulated, providers: Providers
) -> None:
    for choice in (EU, US, ProviderChoice("openai", "m")):
        run(asked(warmed(providers, choice)))
    eu, us, default = provider_server.requests
    assert (eu.path, eu.headers["x-goog-api-key"]) == ("/eu/models/g:generateContent", KEYS["EU_KEY"])
    assert eu.headers["x-team"] == "moon"
    assert (us.path, us.headers["x-api-key"]) == ("/us/v1/messages", KEYS["US_KEY"])
    assert (default.path, default.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    every = {*KEYS.values(), KEY}
    for request, own in ((eu, KEYS["EU_KEY"]), (us, KEYS["US_KEY"]), (default, KEY)):
        assert not any(other in str(request.headers) for other in every - {own})


def test_when_one_vendor_fails_the_other_one_answers_whole_and_streamed(
    run: Run[Any], provider_server: Simulated, providers: Providers
) -> None:
    async def streamed() -> str:
        pieces = [piece async for piece in answering.stream(warmed(providers, EU, US), QUESTION)]
        return "".join(piece for piece in pieces if isinstance(piece, str))

    provider_server.will(Behaviour(status=503), Behaviour(), Behaviour(fault="drop"), Behaviour())
    assert run(asked(warmed(providers, EU, US))) == "A simulated answer."
    assert run(streamed()) == "A simulated answer."
    assert [request.path.split("/")[1] for request in provider_server.requests] == ["eu", "us", "eu", "us"]


def test_a_complaint_names_the_endpoint_and_not_its_key(
    run: Run[Any], provider_server: Simulated, providers: Providers
) -> None:
    provider_server.will(Behaviour(status=401, message=f"Bad key {KEYS['US_KEY']}"), Behaviour(fault="drop"))
    with pytest.raises(ProviderError) as refused:
        run(asked(warmed(providers, US)))
    with pytest.raises(ProviderError) as broken:
        run(asked(warmed(providers, US)))
    assert str(refused.value) == "Bad key [key]"
    assert "connection to us failed" in str(broken.value)


def test_a_model_that_fails_closes_neither_another_model_nor_another_endpoint(
    run: Run[Any], provider_server: Simulated, providers: Providers
) -> None:
    other_model = ProviderChoice("gemini", "another", {"tries": 1}, "eu")
    provider_server.will(always=Behaviour(status=500))
    for _ in range(6):
        with pytest.raises(ProviderError) as caught:
            run(asked(warmed(providers, EU)))
    assert caught.value.kind == "circuit_open"
    provider_server.will()
    assert [run(asked(warmed(providers, choice))) for choice in (other_model, US)] == ["A simulated answer."] * 2
    with pytest.raises(ProviderError, match="eu failed"):
        run(asked(warmed(providers, EU)))


def test_requests_wait_for_a_place_of_their_endpoint_and_none_of_their_time_runs(
    run: Run[Any], provider_server: Simulated, providers: Providers
) -> None:
    async def many() -> int:
        warm, most = warmed(providers, at("narrow")), 0
        asking = [asyncio.create_task(asked(warm)) for _ in range(10)]
        while not all(task.done() for task in asking):
            most = max(most, provider_server.script.running)
            await asyncio.sleep(0.01)
        assert {await task for task in asking} == {"A simulated answer."}
        return most

    provider_server.will(always=Behaviour(latency_ms=300))  # ten take 3 s, and each may take 2
    assert run(many()) == 1


def test_who_finds_no_place_in_time_is_told_so_and_the_fallback_is_asked(
    run: Run[Any], provider_server: Simulated, providers: Providers
) -> None:
    async def beside_a_long_one() -> tuple[ProviderError, str | None]:
        long = asyncio.create_task(asked(warmed(providers, at("hasty"))))
        while not provider_server.script.running:
            await asyncio.sleep(0.01)
        with pytest.raises(ProviderError) as caught:
            await asked(warmed(providers, at("hasty")))
        answered = await asked(warmed(providers, at("hasty"), US))
        long.cancel()
        with suppress(asyncio.CancelledError):
            await long
        assert await asked(warmed(providers, at("hasty"))) is not None  # the place is free again
        return caught.value, answered

    provider_server.will(Behaviour(fault="hang"))
    busy, answered = run(beside_a_long_one())
    assert (busy.kind, busy.http_status) == ("busy", 503)
    assert "Every place of hasty was taken for 0.1 seconds" in str(busy)
    assert answered == "A simulated answer."


def test_a_caller_who_leaves_the_line_takes_no_place(
    run: Run[Any], provider_server: Simulated, providers: Providers
) -> None:
    async def leaves() -> None:
        warm = warmed(providers, at("narrow"))
        first = asyncio.create_task(asked(warm))
        waiting = [asyncio.create_task(asked(warm)) for _ in range(3)]
        await asyncio.sleep(0.05)
        for task in waiting:
            task.cancel()
        assert await first == await asked(warm) == "A simulated answer."

    provider_server.will(always=Behaviour(latency_ms=150))
    run(leaves())
    assert provider_server.script.count == 2


def test_an_endpoint_with_a_proxy_is_asked_through_it_and_the_others_are_not(
    run: Run[Any], provider_server: Simulated, providers: Providers
) -> None:
    """The simulated provider stands in for the proxy: it is sent the whole address."""
    assert run(asked(warmed(providers, at("behind")))) == "A simulated answer."
    assert run(asked(warmed(providers, US))) == "A simulated answer."
    assert next(request.headers["host"] for request in provider_server.requests) == "models.invalid"
    assert provider_server.requests[1].headers["host"].startswith("127.0.0.1")


@pytest.mark.parametrize("endpoint", ["gone", "keyless"])
def test_a_provider_that_is_not_set_up_here_is_left_out_and_the_fallback_answers(
    run: Run[Any], providers: Providers, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    missing = ProviderChoice("anthropic", "a", {}, endpoint)
    with caplog.at_level(logging.WARNING):
        for chain in ((missing, US), (US, missing)):
            assert run(asked(warmed(providers, *chain))) == "A simulated answer."
    assert next(record.why for record in caplog.records if hasattr(record, "why")).startswith(
        f"The endpoint '{endpoint}'"
    )


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (ProviderChoice("anthropic", "a", {}, "gone"), "unknown here.*names: eu, us, narrow"),
        (ProviderChoice("anthropic", "a", {}, "keyless"), "NOT_SET_ANYWHERE is not set"),
        (ProviderChoice("openai", "a", {}, "eu"), "speaks gemini here, and the release pins openai"),
    ],
)
def test_without_a_fallback_the_release_is_not_made_ready_and_says_why(
    providers: Providers, choice: ProviderChoice, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        warmed(providers, choice)
