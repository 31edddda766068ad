"""What attacks need. On the server: a host over a snapshot of the test's own, and the simulated provider. On
releases and ledger: a store, and a yard with a ledger of its own.
"""

from tests.releases.conftest import store, yard
from tests.serving.conftest import provider_process, provider_server
from tests.serving.snapshots import released

__all__ = ["provider_process", "provider_server", "released", "store", "yard"]
