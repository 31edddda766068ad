"""One writer a table, for jobs: a lease where the table lies in the object store; a local file system has Delta's own
atomic rename, and needs none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlflow_project.adapters.lease import Lease
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.settings import StoreSettings, load


@contextmanager
def one_writer(table: str) -> Iterator[Callable[[], None]]:
    """Hold a table; yields what to call before each commit.

    Raises:
        Refused: somebody else is writing it.
    """
    if not table.startswith("s3"):
        yield lambda: None
        return
    with Lease(ObjectStore(load(StoreSettings)), table) as lease:
        yield lease.check
