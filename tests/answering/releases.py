"""Releases and settings made by hand for these tests."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from mlflow_project.adapters.providers import Providers
from mlflow_project.domain.release import Manifest, Message, ProviderChoice, Release
from mlflow_project.settings import ProviderSettings
from tests.provider.fixtures import Simulated

KEY = "a-key-that-must-stay-secret-1234567890"
TEMPLATE = (Message("system", "Answer from the chunks."), Message("user", "{{question}}"))


def settings_for(url: str, key: str | None = KEY) -> ProviderSettings:
    """Settings of a test: nothing is read from the environment or a file."""
    return ProviderSettings(llm_api_url=url, llm_api_key=SecretStr(key) if key else None)


OPENED: list[Providers] = []
"""What a test opened; the fixture `run` closes it in the test's event loop."""


def providers_for(settings: ProviderSettings) -> Providers:
    """Providers for one test."""
    OPENED.append(Providers(settings))
    return OPENED[-1]


def gemini(provider: Simulated) -> ProviderSettings:
    """Settings whose address is the simulated Gemini."""
    return settings_for(provider.gemini_url)


def openai(provider: Simulated) -> ProviderSettings:
    """Settings whose address is the simulated OpenAI."""
    return settings_for(provider.openai_url)


def release(provider: str, template: tuple[Message, ...] = TEMPLATE, **pinned: Any) -> Release:
    """A release of that provider; `parameters` go to it, everything else into the manifest."""
    parameters = (
        {"total_seconds": 10, **pinned.pop("parameters", {})} if provider in {"anthropic", "gemini", "openai"} else {}
    )
    choice = ProviderChoice(provider, "model-of-the-release", parameters)
    return Release(1, "sha256:" + "0" * 64, Manifest("prompt", "qa", template, choice, **pinned))
