"""The simulated provider."""

from tests.provider.fixtures import provider_server

__all__ = ["provider_server"]
