"""The endpoints that this process knows: each an address with its key, headers, limits and prices.

In: the file that `SWITCHYARD_PROVIDERS` names, and `LLM_API_URL` with `LLM_API_KEY`, which are the endpoint `default`.
Out: an `Endpoint` by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from mlflow_project.adapters.providers.endpoint_file import DEFAULT, EndpointEntry, Limits, read_providers_file
from mlflow_project.domain.release import Prices
from mlflow_project.errors import ConfigError
from mlflow_project.settings import ProviderSettings

KEY_HEADERS = {"openai": "Authorization", "gemini": "x-goog-api-key", "anthropic": "x-api-key"}
"""The header that each protocol's key goes into. After `Authorization:` comes `Bearer`."""


@dataclass(frozen=True)
class Endpoint:
    """An address that can be asked. `protocol` is None where the release decides (`default`)."""

    name: str
    url: str
    protocol: str | None = None
    key: SecretStr | None = None
    key_header: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    proxy: str | None = None
    limits: Limits = field(default_factory=Limits)
    prices: Mapping[str, Prices] = field(default_factory=dict)
    model: str | None = None
    thoughts_tag: str | None = None

    def headers_with_key(self, protocol: str) -> dict[str, str]:
        """Every header that the endpoint asks for, the key's among them."""
        if self.key is None:
            return dict(self.headers)
        name, value = self.key_header or KEY_HEADERS[protocol], self.key.get_secret_value()
        return {**self.headers, name: f"Bearer {value}" if name.lower() == "authorization" else value}


class Endpoints:
    """The endpoints that this process knows. Keys are read when an endpoint is asked for."""

    def __init__(self, settings: ProviderSettings) -> None:
        """Read the file that the settings name, if they name one.

        Raises:
            ConfigError: the file is missing or wrong; the message has a line for each mistake.
        """
        self.file = settings.providers_file
        self._default = Endpoint(DEFAULT, settings.llm_api_url, key=settings.llm_api_key)
        self._entries = read_providers_file(self.file) if self.file is not None else {}

    @property
    def names(self) -> list[str]:
        """The names that the file gives. `default` is not among them."""
        return list(self._entries)

    def entry(self, name: str) -> EndpointEntry:
        """What the file says of an endpoint.

        Raises:
            ConfigError: it names no such endpoint.
        """
        if name in self._entries:
            return self._entries[name]
        if self.file is None:
            raise ConfigError(
                f"The endpoint {name!r} is unknown here: no file of endpoints is set. Set SWITCHYARD_PROVIDERS to a "
                "providers.yaml that names it."
            )
        raise ConfigError(
            f"The endpoint {name!r} is unknown here. {self.file} names: {', '.join(self._entries) or 'none'}."
        )

    def get(self, name: str | None) -> Endpoint:
        """The endpoint of that name with its key; None is `default`.

        Raises:
            ConfigError: it is unknown, or its key cannot be read.
        """
        if name is None or name == DEFAULT:
            return self._default
        entry = self.entry(name)
        assert self.file is not None
        try:
            key = entry.key.read(self.file.parent) if entry.key is not None else None
        except ConfigError as error:
            raise ConfigError(f"The endpoint {name!r} has no key: {error}") from error
        prices = {model: Prices(**row.model_dump()) for model, row in entry.prices.items()}
        kept = {"protocol", "key_header", "headers", "proxy", "limits", "model", "thoughts_tag"}
        rest = {part: getattr(entry, part) for part in kept}
        return Endpoint(name=name, url=entry.address(), key=key, prices=prices, **rest)

    def key_or_reason(self, name: str) -> str | None:
        """The key of an endpoint as text, or why it cannot be read; None: it has none. For comparing, never to show."""
        try:
            key = self.get(name).key
        except ConfigError as error:
            return str(error)
        return key.get_secret_value() if key is not None else None
