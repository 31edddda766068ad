"""One writer per table: a job holds a lease on a table in the object store while it writes it. A table on a local disk
needs none, because there a commit is an atomic rename."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlflow_project.adapters.lease import Lease
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.settings import StoreSettings, load


@contextmanager
def one_writer(table: str) -> Iterator[Callable[[], None]]:
    """Hold the lease on a table. Yields a function to call before each commit, which raises if the lease was lost.

    Raises:
        Refused: another writer holds the lease.
    """
    if not table.startswith("s3"):
        yield lambda: None
        return
    with Lease(ObjectStore(load(StoreSettings)), table) as lease:
        yield lease.check
