"""Every record of a run that there is: in the outbox, among those that were sent, and from the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.run_log import OUTBOX
from mlflow_project.catalog.ledger_runs import runs_of
from mlflow_project.catalog.publish import REFUSED, SENT
from mlflow_project.domain.run import RunRecord, read_run_record
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.ledger import Ledger

_AT_ONCE = 16


def every_run(store: ObjectStore, ledger: Ledger) -> Iterator[RunRecord]:
    """All records, in no order. Objects that are no records are left out; `lineage publish` names them."""
    settings = store.settings
    places = [
        (bucket, found.key)
        for bucket, prefix in (
            (settings.coordination_bucket, OUTBOX),
            (settings.coordination_bucket, REFUSED),
            (settings.artifacts_bucket, SENT),
        )
        for found in store.list(bucket, prefix)
        if not found.key.endswith("-START.json")
    ]

    def read(place: tuple[str, str]) -> RunRecord | None:
        try:
            return read_run_record(json.loads(store.get(*place)))
        except (NotFound, ValueError, InvalidData):
            return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from (record for record in pool.map(read, places) if record is not None)
    yield from (made.run for made in runs_of(ledger.records()))
