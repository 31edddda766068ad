"""What attacks on the running server need: a host over a snapshot of the test's own, and the simulated provider."""

from tests.serving.conftest import provider_process, provider_server
from tests.serving.snapshots import released

__all__ = ["provider_process", "provider_server", "released"]
