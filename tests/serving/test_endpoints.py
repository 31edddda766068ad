"""A server with several endpoints: whom each prompt asks, and what callers are told where an endpoint is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_project.domain.release import ProviderChoice
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated
from tests.serving.conftest import Host
from tests.serving.snapshots import Snapshots, released

__all__ = ["released"]

KEYS = {"EU_KEY": "eu-key-that-must-stay-secret-1", "US_KEY": "us-key-that-must-stay-secret-2"}
EU = ProviderChoice("gemini", "gemini-2.5-flash", {"tries": 1}, "eu")
US = ProviderChoice("anthropic", "claude", {"tries": 1}, "us")
GONE = ProviderChoice("openai", "m", {"tries": 1}, "moved-away")
LOCAL = ProviderChoice("extractive", "extractive-1")
PROMPTS = {
    "in-eu": {"provider": EU},
    "in-us": {"provider": US},
    "by-turns": {"provider": EU, "fallbacks": (US,)},
    "homeless": {"provider": GONE},
    "rescued": {"provider": GONE, "fallbacks": (US,)},
    "unmoved": {"provider": LOCAL},
}


def written(folder: Path, port: int) -> Path:
    path = folder / "providers.yaml"
    path.write_text(
        "endpoints:\n"
        f"  eu: {{protocol: gemini, url: 'http://127.0.0.1:{port}/eu', key: {{env: EU_KEY}}}}\n"
        f"  us: {{protocol: anthropic, url: 'http://127.0.0.1:{port}/us', key: {{env: US_KEY}}}}\n"
    )
    return path


@pytest.fixture(scope="module")
def host(released: Snapshots, provider_process: Simulated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    for name, fields in PROMPTS.items():
        released.seal(name, **fields)
        released.point(name, 1)
    path = written(tmp_path_factory.mktemp("endpoints"), provider_process.port)
    running = released.host(SWITCHYARD_PROVIDERS=str(path), **KEYS)
    running.start_server()
    yield running
    running.stop()


def test_two_prompts_of_one_server_ask_two_vendors_each_with_its_own_key(
    host: Host, provider_server: Simulated
) -> None:
    assert [host.ask(name).status_code for name in ("in-eu", "in-us")] == [200, 200]
    eu, us = provider_server.requests
    assert (eu.path, eu.headers["x-goog-api-key"]) == ("/eu/models/gemini-2.5-flash:generateContent", KEYS["EU_KEY"])
    assert (us.path, us.headers["x-api-key"]) == ("/us/v1/messages", KEYS["US_KEY"])


def test_a_vendor_that_fails_is_replaced_by_the_fallback_at_another_vendor(
    host: Host, provider_server: Simulated
) -> None:
    provider_server.will(Behaviour(status=503), Behaviour(text="From the other one."))
    assert "From the other one." in host.ask("by-turns").text
    assert [request.path.split("/")[1] for request in provider_server.requests] == ["eu", "us"]


def test_an_endpoint_that_the_server_does_not_know_is_a_5xx_in_words_and_harms_no_other_prompt(host: Host) -> None:
    refused = host.ask("homeless")
    assert refused.status_code == 503
    assert "moved-away" in refused.text
    assert "eu, us" in refused.text
    assert host.ask("unmoved").status_code == 200


def test_where_the_endpoint_is_missing_the_fallback_answers_and_the_log_says_why(
    host: Host, provider_server: Simulated
) -> None:
    assert host.ask("rescued").status_code == 200
    assert [request.path for request in provider_server.requests] == ["/us/v1/messages"]
    assert "a provider is not set up here" in host.log("server")
    assert "moved-away" in host.log("server")


def test_no_key_of_an_endpoint_reaches_an_answer_a_log_or_a_file(host: Host, provider_server: Simulated) -> None:
    said = []
    for name, key in (("in-eu", KEYS["EU_KEY"]), ("in-us", KEYS["US_KEY"])):
        provider_server.will(always=Behaviour(status=401, message=f"The key {key} is wrong."))
        said.append(host.ask(name).text)
    said += [file.read_text(errors="replace") for file in host.folder.rglob("*") if file.is_file()]
    assert "[key]" in "".join(said)
    assert not any(key in text for key in KEYS.values() for text in said)
