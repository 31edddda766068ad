"""The simulated provider, a set of examples, a prompt."""

from tests.fine_tuning.fixtures import examples, prompt
from tests.provider.fixtures import provider_server

__all__ = ["examples", "prompt", "provider_server"]
