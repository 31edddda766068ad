"""From what a release pins to a provider that is ready. Libraries for HTTP are imported only for a provider that asks
over HTTP, so that a server of `extractive` prompts stays light."""

from __future__ import annotations

from mlflow_project.adapters.providers.extractive import Extractive
from mlflow_project.adapters.providers.lexicon import Lexicon
from mlflow_project.adapters.providers.protocol import Provider
from mlflow_project.domain.release import ProviderChoice
from mlflow_project.errors import InvalidData
from mlflow_project.settings import ProviderSettings

NAMES = ("extractive", "lexicon", "gemini", "openai")


def provider_for(choice: ProviderChoice, settings: ProviderSettings) -> Provider:
    """The provider that a release chose; close it with `aclose`.

    Raises:
        InvalidData: there is no such provider, or a parameter is wrong.
        ConfigError: it needs a key or an address that is not set here.
    """
    if choice.name == "extractive":
        return Extractive.of(choice.parameters)
    if choice.name == "lexicon":
        return Lexicon.of(choice.parameters)
    if choice.name == "gemini":
        from mlflow_project.adapters.providers.gemini import Gemini

        return Gemini.of(choice, settings)
    if choice.name == "openai":
        from mlflow_project.adapters.providers.openai import OpenAI

        return OpenAI.of(choice, settings)
    raise InvalidData(f"There is no provider {choice.name!r}. There are: {', '.join(NAMES)}.")
