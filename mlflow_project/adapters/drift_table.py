"""Appends to the one table that no Spark job writes: a few rows a run, under the same lease as every other table.

In: rows. Out: the Delta version. delta-rs writes it, since a Spark session for thirty rows would take half a minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError

from mlflow_project.adapters.delta_tables import open_table, storage_options
from mlflow_project.adapters.lease import Lease
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import Unavailable


def append(store: ObjectStore, address: str, rows: Sequence[Mapping[str, Any]]) -> int:
    """Append; the table is made on the first call.

    Raises:
        Refused: somebody else is writing it. Unavailable: the store does not answer.
    """
    with Lease(store, address) as lease:
        lease.check()
        try:
            table = pa.Table.from_pylist([dict(row) for row in rows])
            write_deltalake(address, table, mode="append", storage_options=storage_options())
        except (DeltaError, OSError) as error:
            raise Unavailable(f"{address} could not be written: {error}") from error
        return int(open_table(address).version())
