"""Makes providers from what releases pin.

Libraries for HTTP are imported only for a provider that asks over HTTP, so that a server of `extractive` prompts stays
light.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING

from mlflow_project.adapters.providers.endpoints import Endpoints
from mlflow_project.adapters.providers.extractive import Extractive
from mlflow_project.adapters.providers.lexicon import Lexicon
from mlflow_project.adapters.providers.protocol import Provider
from mlflow_project.domain.release import ProviderChoice
from mlflow_project.errors import ConfigError, InvalidData
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import ProviderSettings

if TYPE_CHECKING:
    from mlflow_project.adapters.providers.chat import ChatProvider
    from mlflow_project.adapters.providers.embedding import EmbeddingEndpoint
    from mlflow_project.adapters.providers.reranking import RerankingEndpoint
    from mlflow_project.adapters.providers.upstream import Network
    from mlflow_project.adapters.retrieval.specification import Embedder, Reranker

NAMES = ("extractive", "lexicon", "anthropic", "gemini", "openai")


class Providers:
    """The providers of one process. They share their HTTP clients, opened by the first one that needs one.

    Use it in one event loop, and close it there: `async with Providers(settings) as providers`.
    """

    def __init__(
        self, settings: ProviderSettings, masker: Masker | None = None, per_minute: float | None = None
    ) -> None:
        """`masker` has a site's own patterns besides the built-in ones; None: the built-in ones alone. `per_minute` is
        the most requests that all providers together send in a minute; None: no limit.

        Raises:
            ConfigError: the file of endpoints is missing or wrong.
        """
        self.endpoints = Endpoints(settings)
        self._masker = masker or Masker()
        self._per_minute = per_minute
        self._network: Network | None = None
        self._opening = Lock()

    async def __aenter__(self) -> Providers:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._network is not None:
            await self._network.aclose()

    def provider_for(self, choice: ProviderChoice) -> Provider:
        """The provider that a release chose. Any thread may ask for one.

        Raises:
            InvalidData: there is no such provider, or a parameter is wrong.
            ConfigError: it needs an endpoint, a key or an address that is not set here.
        """
        if choice.name == "extractive":
            return Extractive.of(choice.parameters)
        if choice.name == "lexicon":
            return Lexicon.of(choice.parameters)
        if choice.name not in NAMES:
            raise InvalidData(f"There is no provider {choice.name!r}. There are: {', '.join(NAMES)}.")
        endpoint = self.endpoints.get(choice.endpoint)
        if endpoint.protocol not in {None, choice.name}:
            raise ConfigError(
                f"The endpoint {endpoint.name!r} speaks {endpoint.protocol} here, and the release pins {choice.name}."
            )
        with self._opening:
            return _kind(choice.name).of(choice, endpoint, self._shared())

    def embeddings_for(
        self, embedder: Embedder, patience: Mapping[str, float] = MappingProxyType({})
    ) -> EmbeddingEndpoint:
        """The endpoint that an index's embedder asks. `patience` are limits of time that hold where the endpoint itself
        sets none. Any thread may ask for one.

        Raises:
            ConfigError: it needs an endpoint, a key or an address that is not set here.
        """
        from mlflow_project.adapters.providers import embedding

        endpoint = self.endpoints.get(embedder.endpoint)
        if endpoint.protocol not in {None, embedder.kind}:
            raise ConfigError(
                f"The endpoint {endpoint.name!r} speaks {endpoint.protocol} here, and the index was built with "
                f"{embedder.name}."
            )
        kind = embedding.GeminiEmbeddings if embedder.kind == "gemini" else embedding.OpenAIEmbeddings
        with self._opening:
            return kind.of(embedder, endpoint, self._shared(), patience)

    def reranking_for(
        self, reranker: Reranker, patience: Mapping[str, float] = MappingProxyType({})
    ) -> RerankingEndpoint:
        """The endpoint that an index's reranker asks. Any thread may ask for one.

        Raises:
            ConfigError: it needs an endpoint, a key or an address that is not set here.
        """
        from mlflow_project.adapters.providers.reranking import RerankingEndpoint

        endpoint = self.endpoints.get(reranker.endpoint)
        with self._opening:
            return RerankingEndpoint.of(reranker, endpoint, self._shared(), patience)

    def _shared(self) -> Network:
        from mlflow_project.adapters.providers.upstream import Network

        if self._network is None:
            self._network = Network(self._masker, self._per_minute)
        return self._network


def check_choice(choice: ProviderChoice) -> None:
    """Check what a template says of a provider, without asking for its endpoint or its key.

    Raises:
        InvalidData: there is no such provider, or a parameter is unknown or wrong.
    """
    if choice.name not in NAMES:
        raise InvalidData(f"There is no provider {choice.name!r}. There are: {', '.join(NAMES)}.")
    if choice.name == "extractive":
        Extractive.of(choice.parameters)
    elif choice.name == "lexicon":
        Lexicon.of(choice.parameters)
    else:
        _kind(choice.name).checked_parameters(choice.parameters)


def _kind(protocol: str) -> type[ChatProvider]:
    """The class for a protocol."""
    if protocol == "anthropic":
        from mlflow_project.adapters.providers.anthropic import Anthropic

        return Anthropic
    if protocol == "gemini":
        from mlflow_project.adapters.providers.gemini import Gemini

        return Gemini
    from mlflow_project.adapters.providers.openai import OpenAI

    return OpenAI
