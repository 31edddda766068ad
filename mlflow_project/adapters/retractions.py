"""The documents that were taken back from a knowledge base: a Delta table `<chunk_table>_retracted`.

Written here, by delta-rs alone. Preparations read it, and leave these documents out.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError

from mlflow_project.adapters.delta_tables import open_table, read, storage_options, translated
from mlflow_project.errors import NotFound

COLUMNS = pa.schema({"document_id": pa.string(), "who": pa.string(), "why": pa.string(), "at": pa.string()})


def retract_documents(chunk_table: str, ids: Iterable[str], who: str, why: str, at: str) -> int:
    """Note that these documents were taken back. Returns how many were not noted before.

    Args:
        at: the time, UTC in ISO 8601.

    Raises:
        Unavailable: the store does not answer. InvalidData: delta-rs cannot write there.
    """
    address = f"{chunk_table}_retracted"
    new = sorted(set(ids) - _retracted(address))
    if not new:
        return 0
    rows = pa.table({"document_id": new, "who": [who] * len(new), "why": [why] * len(new), "at": [at] * len(new)})
    options = storage_options() if address.startswith(("s3://", "s3a://")) else None
    try:
        write_deltalake(address, rows.cast(COLUMNS), mode="append", storage_options=options)
    except (DeltaError, OSError) as error:
        raise translated(f"{address} cannot be written", error) from error
    return len(new)


def _retracted(address: str) -> set[str]:
    try:
        table = open_table(address)
    except NotFound:
        return set()
    return {row["document_id"] for row in read("SELECT document_id FROM here", {"here": table}).to_pylist()}
