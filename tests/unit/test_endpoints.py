"""`providers.yaml`: what it may say, what is said of mistakes, and where keys come from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_project.adapters.providers.chat import with_path
from mlflow_project.adapters.providers.endpoint_file import presets, read_providers_file
from mlflow_project.adapters.providers.endpoints import Endpoints
from mlflow_project.domain.release import Manifest, Message, Prices, ProviderChoice
from mlflow_project.errors import ConfigError, InvalidData
from mlflow_project.registration.endpoints import pin_endpoints
from mlflow_project.settings import ProviderSettings, check_all
from stack.processes import _provider_mark
from tests.conftest import ROOT

KEY = "a-key-that-must-stay-secret-1234567890"
FILE = """
endpoints:
  gemini-eu:
    preset: gemini
    key: {env: GEMINI_EU_KEY}
    headers: {x-goog-user-project: my-project}
    proxy: http://proxy:3128
    limits: {concurrent: 4, total_seconds: 20}
    prices:
      gemini-2.5-flash: {version: "2026-11", input_per_million: 0.3, output_per_million: 2.5}
  local: {preset: ollama, limits: {concurrent: 2}}
  own: {protocol: openai, url: "http://models:8000/v1", key: {file: own.key}, key_header: api-key}
  aws: {preset: bedrock, region: eu-central-1}
"""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of this machine."""
    monkeypatch.setenv("SWITCHYARD_STATE", str(tmp_path))
    monkeypatch.setenv("SWITCHYARD_ENV_FILE", str(tmp_path / "own.env"))


def written(folder: Path, text: str) -> Path:
    path = folder / "providers.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def endpoints(folder: Path, text: str = FILE) -> Endpoints:
    return Endpoints(ProviderSettings(SWITCHYARD_PROVIDERS=written(folder, text)))


def test_an_endpoint_has_its_own_address_key_header_proxy_limits_and_prices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_EU_KEY", KEY)
    found = endpoints(tmp_path).get("gemini-eu")
    assert (found.protocol, found.url) == ("gemini", "https://generativelanguage.googleapis.com/v1beta")
    assert found.headers_with_key("gemini") == {"x-goog-user-project": "my-project", "x-goog-api-key": KEY}
    assert found.proxy == "http://proxy:3128"
    assert found.limits.patience() == {"total_seconds": 20.0}
    assert found.prices == {"gemini-2.5-flash": Prices("2026-11", 0.3, 2.5)}
    assert KEY not in repr(found)


def test_without_a_file_there_is_the_default_endpoint_alone() -> None:
    found = Endpoints(ProviderSettings(llm_api_url="http://x/v1", llm_api_key=KEY))
    assert found.names == []
    assert found.get(None) == found.get("default")
    assert found.get(None).headers_with_key("openai") == {"Authorization": f"Bearer {KEY}"}
    with pytest.raises(ConfigError, match="SWITCHYARD_PROVIDERS"):
        found.get("gemini-eu")


def test_an_endpoint_that_the_file_does_not_name_is_refused_and_the_known_ones_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gemini-eu, local, own, aws"):
        endpoints(tmp_path).get("gemini-us")


def test_a_key_comes_from_the_environment_from_the_env_file_or_from_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / "own.env").write_text(f"GEMINI_EU_KEY={KEY}\n")
    (tmp_path / "own.key").write_text(f"  {KEY}\n")
    found = endpoints(tmp_path)
    assert found.get("gemini-eu").headers_with_key("gemini")["x-goog-api-key"] == KEY
    assert found.get("own").headers_with_key("openai") == {"api-key": KEY}


@pytest.mark.parametrize(
    ("name", "said"),
    [("gemini-eu", "GEMINI_EU_KEY is not set"), ("own", "own.key cannot be read"), ("aws", "AWS_BEARER_TOKEN_BEDROCK")],
)
def test_a_key_that_is_missing_is_named_with_its_endpoint(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        endpoints(tmp_path).get(name)
    assert repr(name) in str(caught.value)


def test_an_empty_file_holds_no_key(tmp_path: Path) -> None:
    (tmp_path / "own.key").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        endpoints(tmp_path).get("own")


def test_limits_of_a_preset_hold_where_the_file_sets_no_others(tmp_path: Path) -> None:
    local = endpoints(tmp_path).get("local")
    assert local.limits.concurrent == 2
    assert local.limits.patience()["first_byte_seconds"] == 300


def test_the_region_of_a_preset_goes_into_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
    assert endpoints(tmp_path).get("aws").url == "https://bedrock-runtime.eu-central-1.amazonaws.com/openai/v1"


def test_every_preset_is_an_endpoint_of_its_own(tmp_path: Path) -> None:
    lines = [f"  a{place}: {{preset: {name}, region: eu, resource: me}}" for place, name in enumerate(presets())]
    assert len(read_providers_file(written(tmp_path, "\n".join(["endpoints:", *lines])))) == len(presets())


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{preset: gemni}", "preset: must be one of openai, gemini, anthropic, azure-openai"),
        ("{protocol: openai}", "url is missing"),
        ("{protocol: oracle, url: http://x}", "protocol: must be"),
        ("{protocol: openai, url: nope}", "url: 'nope' is not a web address"),
        ("{preset: openai, url: 'https://ada:pass@x/'}", "url: must not hold a user or a password"),
        ("{preset: openai, proxy: 'http://ada:pass@x/'}", "proxy: must not hold a user or a password"),
        ("{preset: openai, kye: {env: A}}", "kye is not a field. An endpoint has: preset, protocol"),
        (f"{{preset: openai, key: {KEY}}}", "key must say where the key is"),
        ("{preset: openai, key: {env: A, file: b}}", "key: must name one of env and file"),
        ("{preset: openai, key: {env: 'A B'}}", "key.env does not have the form of a setting's name"),
        (f"{{preset: openai, headers: {{Authorization: {KEY}}}}}", "headers: Authorization cannot be set here"),
        ('{preset: openai, headers: {x-a: "b\\r\\nx-c: d"}}', "headers: the value of x-a"),
        ("{preset: bedrock}", "region is missing"),
        ("{preset: bedrock, region: evil.com/}", "region does not have the form"),
        ("{preset: azure-openai, resource: 'a@evil.com'}", "resource does not have the form"),
        ("{preset: ollama, limits: {concurrent: 0}}", "limits.concurrent: must be greater than or equal to 1"),
        ("{preset: ollama, limits: {total_seconds: .nan}}", "limits.total_seconds: must be"),
        ("{preset: ollama, limits: {tries: '3'}}", "limits.tries: must be a valid integer"),
        ("{preset: ollama, prices: {m: {version: a, input_per_million: 1}}}", "prices.m.output_per_million is missing"),
        ("{preset: ollama, prices: {m: {version: a, input_per_million: .inf, output_per_million: 1}}}", "prices.m.inp"),
        ("7", "must be a mapping"),
    ],
)
def test_a_mistake_is_named_with_file_endpoint_and_field_and_without_the_value(
    tmp_path: Path, entry: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        endpoints(tmp_path, f"endpoints:\n  mine: {entry}\n")
    assert f"endpoint 'mine': {said}" in str(caught.value)
    assert "providers.yaml" in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.exit_code == 2


def test_every_mistake_of_the_file_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        endpoints(
            tmp_path, "endpoints:\n  a: {preset: x}\n  b: 7\n  default: {preset: ollama}\n  -c: {preset: ollama}\n"
        )
    assert all(f"endpoint '{name}'" in str(caught.value) for name in ("a", "b", "default", "-c"))


@pytest.mark.parametrize(
    "text", ["", "endpoints", "endpoints: []", "endpoint: {}", "endpoints: {}\nmore: 1", "a: &a [*a]", "a: [", "\x00"]
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"providers\.yaml"):
        endpoints(tmp_path, text)


def test_a_key_in_a_file_that_is_not_yaml_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 3: ") as caught:
        endpoints(tmp_path, f'endpoints:\n  a: {{preset: openai, key: "{KEY}}}\n')
    assert KEY not in str(caught.value)


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a stands twice"):
        endpoints(tmp_path, "endpoints:\n  a: {preset: ollama}\n  a: {preset: vllm}\n")


def test_a_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="SWITCHYARD_PROVIDERS"):
        Endpoints(ProviderSettings(SWITCHYARD_PROVIDERS=tmp_path / "none.yaml"))
    monkeypatch.setenv("SWITCHYARD_PROVIDERS", "")
    assert not any("SWITCHYARD_PROVIDERS" in line for line in check_all())


def manifest(*choices: ProviderChoice, prices: Prices | None = None) -> Manifest:
    first, *rest = choices
    return Manifest("prompt", "qa", (Message("user", "x"),), first, prices=prices, fallbacks=tuple(rest) or None)


def test_registration_pins_the_endpoints_protocol_and_the_price_of_its_model(tmp_path: Path) -> None:
    asked = manifest(ProviderChoice("", "gemini-2.5-flash", {}, "gemini-eu"), ProviderChoice("", "m", {}, "local"))
    pinned = pin_endpoints(asked, endpoints(tmp_path), "v1.md")
    assert pinned.provider == ProviderChoice("gemini", "gemini-2.5-flash", {}, "gemini-eu")
    assert pinned.fallbacks == (ProviderChoice("openai", "m", {}, "local"),)
    assert pinned.prices == Prices("2026-11", 0.3, 2.5)
    own = Prices("mine", 1, 2)
    assert pin_endpoints(manifest(*[asked.provider], prices=own), endpoints(tmp_path), "v1.md").prices == own  # type: ignore[list-item]


def test_the_default_endpoint_by_its_name_is_the_same_as_none(tmp_path: Path) -> None:
    named = manifest(ProviderChoice("openai", "m", {}, "default"))
    assert pin_endpoints(named, endpoints(tmp_path), "v1.md") == manifest(ProviderChoice("openai", "m"))


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (ProviderChoice("", "m", {}, "gemini-us"), "'gemini-us' is unknown here"),
        (ProviderChoice("openai", "m", {}, "gemini-eu"), "speaks gemini, and the template says name: openai"),
        (ProviderChoice("", "m", {}, "default"), "has no protocol of its own"),
    ],
)
def test_registration_refuses_what_the_file_does_not_bear_out(
    tmp_path: Path, choice: ProviderChoice, said: str
) -> None:
    for asked in (manifest(choice), manifest(ProviderChoice("extractive", "e"), choice)):
        with pytest.raises(InvalidData, match=said) as caught:
            pin_endpoints(asked, endpoints(tmp_path), "v1.md")
        assert str(caught.value).startswith("v1.md: ")


def test_the_local_stack_starts_again_when_the_file_or_a_key_of_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHYARD_PROVIDERS", str(written(tmp_path, FILE)))
    marks = [_provider_mark()]
    monkeypatch.setenv("GEMINI_EU_KEY", KEY)
    marks.append(_provider_mark())
    (tmp_path / "own.key").write_text(KEY)
    marks.append(_provider_mark())
    written(tmp_path, FILE.replace("my-project", "another"))
    marks += [_provider_mark(), _provider_mark()]
    assert len(set(marks)) == 4
    assert KEY not in str(marks)


@pytest.mark.parametrize(
    ("url", "path", "whole"),
    [
        ("http://x", "/v1/messages", "http://x/v1/messages"),
        ("http://x/v1/", "/v1/messages", "http://x/v1/messages"),
        ("http://x/v1/messages", "/v1/messages", "http://x/v1/messages"),
        ("http://x/v1", "/chat/completions", "http://x/v1/chat/completions"),
        ("http://x/chat/completions", "/chat/completions", "http://x/chat/completions"),
        ("http://x/d/gpt?api-version=1", "/chat/completions", "http://x/d/gpt/chat/completions?api-version=1"),
    ],
)
def test_an_address_gets_the_rest_of_its_path_once(url: str, path: str, whole: str) -> None:
    assert with_path(url, path) == whole


@pytest.mark.parametrize(
    ("text", "said"),
    [("endpoints:\n  eu: {preset: gemni}\n", "endpoint 'eu': preset: must be one of"), (None, "SWITCHYARD_PROVIDERS")],
)
def test_a_server_does_not_start_with_a_file_of_endpoints_that_is_wrong(
    tmp_path: Path, text: str | None, said: str
) -> None:
    path = written(tmp_path, text) if text is not None else tmp_path / "none.yaml"
    env = {**os.environ, "SWITCHYARD_PROVIDERS": str(path)}
    ended = subprocess.run([sys.executable, "-m", "serving"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert ended.returncode == 2
    assert said in ended.stderr
