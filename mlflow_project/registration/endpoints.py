"""Fills in what a template leaves to the endpoint that it names: the protocol, and the price of the model.

In: a manifest as the template spells it, and the endpoints of `providers.yaml`. Out: the manifest to register. It pins
the endpoint's name, protocol and model, never an address or a key.
"""

from __future__ import annotations

from dataclasses import replace

from mlflow_project.adapters.providers.endpoint_file import DEFAULT
from mlflow_project.adapters.providers.endpoints import Endpoints
from mlflow_project.domain.release import Manifest, Prices, ProviderChoice
from mlflow_project.errors import ConfigError, InvalidData


def pin_endpoints(manifest: Manifest, endpoints: Endpoints, template: str) -> Manifest:
    """The manifest with each endpoint's protocol. Prices of the template come before those of the endpoint.

    Raises:
        InvalidData: an endpoint is unknown here, or speaks another protocol than the template says.
    """
    choices = [*([manifest.provider] if manifest.provider else []), *(manifest.fallbacks or ())]
    if not any(choice.endpoint or not choice.name for choice in choices):
        return manifest
    try:
        provider = _pinned(manifest.provider, endpoints) if manifest.provider is not None else None
        fallbacks = None
        if manifest.fallbacks is not None:
            fallbacks = tuple(_pinned(choice, endpoints) for choice in manifest.fallbacks)
        prices = manifest.prices or _price(provider, endpoints)
    except ConfigError as error:
        raise InvalidData(f"{template}: {error}") from error
    return replace(manifest, provider=provider, fallbacks=fallbacks, prices=prices)


def _pinned(choice: ProviderChoice, endpoints: Endpoints) -> ProviderChoice:
    if choice.endpoint in {None, DEFAULT}:
        if not choice.name:
            raise ConfigError(f"The endpoint {DEFAULT!r} has no protocol of its own: add `name`, as in name: gemini.")
        return replace(choice, endpoint=None)
    assert choice.endpoint is not None
    protocol = endpoints.entry(choice.endpoint).protocol
    if choice.name not in {"", protocol}:
        raise ConfigError(
            f"The endpoint {choice.endpoint!r} speaks {protocol}, and the template says name: {choice.name}. "
            "Leave `name` out, or name another endpoint."
        )
    return replace(choice, name=protocol)


def _price(choice: ProviderChoice | None, endpoints: Endpoints) -> Prices | None:
    if choice is None or choice.endpoint is None:
        return None
    row = endpoints.entry(choice.endpoint).prices.get(choice.model)
    return Prices(**row.model_dump()) if row is not None else None
