"""Dead letters: records of Kafka that broke their schema. List them, show one, send some again.

In: the table `dead-letters`, which the Spark job writes. Out: letters; and after a redrive, their records in Kafka once
more, and a row in the table that says so. A record that is sent again keeps its event id, so it is never counted twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError

from mlflow_project.adapters import delta_tables
from mlflow_project.adapters.kafka import send_all
from mlflow_project.adapters.lease import Lease
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import InvalidData, NotFound, Refused
from mlflow_project.rules import ingestion as rules
from mlflow_project.settings import KafkaSettings, StoreSettings

FIELDS = ("reason", "topic", "partition", "event_id", "owner", "request_id", "tries")
"""What `--where` can compare."""
_PLACE = ("topic", "topic_id", "partition", "offset")
_HEADERS = {
    "event_id": rules.EVENT_ID,
    "schema_version": rules.SCHEMA_VERSION,
    "received_at": rules.RECEIVED_AT,
    "owner": rules.OWNER,
    "request_id": rules.REQUEST_ID,
    "trace": rules.TRACEPARENT,
}
_LEASE_SECONDS = 30.0


@dataclass(frozen=True)
class Letter:
    """One dead letter; `row` is its row in the table."""

    row: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Its name: `topic/partition/offset` of the record."""
        return f"{self.row['topic']}/{self.row['partition']}/{self.row['offset']}"

    def summary(self) -> dict[str, Any]:
        """What a list shows."""
        names = ("reason", "sentence", "tries", "owner", "request_id")
        return {"id": self.id, **{name: self.row[name] for name in names}, "at": self.row["at"].isoformat()}

    def to_dict(self) -> dict[str, Any]:
        """All of it; bytes that are no UTF-8 are shown as `\\xff`."""
        texts = {name: _shown(self.row[name]) for name in ("key", "raw")}
        return {
            **self.summary(),
            "event_id": self.row["event_id"],
            "schema_version": self.row["schema_version"],
            **texts,
        }


def conditions(texts: Sequence[str]) -> dict[str, str]:
    """The conditions of `--where`, as in `reason=not_json`.

    Raises:
        InvalidData: one is not `field=value`, or the field is not among `FIELDS`.
    """
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or name not in FIELDS:
            raise InvalidData(f"{text!r} is no condition. Write FIELD=VALUE, with a field of {', '.join(FIELDS)}.")
        found[name] = value
    return found


class DeadLetters:
    """The dead letters of one store."""

    def __init__(self, store: StoreSettings, kafka: KafkaSettings, address: str = "") -> None:
        self._store = store
        self._kafka = kafka
        self.address = address or f"s3a://{store.raw_bucket}/tables/{rules.DEAD_LETTERS}"

    def open(self, where: Mapping[str, str]) -> list[Letter]:
        """The letters that were not sent again since, the oldest first."""
        try:
            table = delta_tables.open_table(self.address).to_pyarrow_table()
        except NotFound:
            return []
        rows = table.sort_by("at").to_pylist()
        redriven = {_place(row) for row in rows if row["redriven"]}
        letters = [Letter(row) for row in rows if not row["redriven"] and _place(row) not in redriven]
        return [each for each in letters if all(str(each.row[name]) == value for name, value in where.items())]

    def show(self, id: str) -> Letter:
        """One letter by its id.

        Raises:
            NotFound: no letter that waits has this id.
        """
        found = next((letter for letter in self.open({}) if letter.id == id), None)
        if found is None:
            raise NotFound(f"No dead letter {id!r} waits. `switchyard dead-letters list` shows all.")
        return found

    def redrive(self, where: Mapping[str, str]) -> list[Letter]:
        """Send letters to their topics again, each with its bytes and its event id, and note it in the table.

        Raises:
            Refused: the Spark job writes the table for longer than this waits. Unavailable: Kafka did not confirm all;
                nothing is noted then, and the letters can be sent again.
        """
        with self._lease() as lease:
            letters = self.open(where)
            send_all(self._kafka, (_message(letter.row) for letter in letters))
            if letters:
                lease.check()
                self._note(letters)
        return letters

    def _note(self, letters: Sequence[Letter]) -> None:
        table = delta_tables.open_table(self.address)
        schema = pa.schema(table.schema().to_arrow())
        rows = [{**letter.row, "raw": None, "redriven": True, "at": datetime.now(UTC)} for letter in letters]
        try:
            write_deltalake(table, pa.Table.from_pylist(rows, schema=schema), mode="append")
        except (DeltaError, OSError) as error:
            raise delta_tables.translated(f"Writing to {self.address} failed", error) from error

    @contextmanager
    def _lease(self) -> Iterator[Lease]:
        """Hold the lease on the table, which the Spark job holds for seconds at a time."""
        until = time.monotonic() + _LEASE_SECONDS
        while True:
            with ExitStack() as held:
                try:
                    lease = held.enter_context(Lease(ObjectStore(self._store), self.address))
                except Refused:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.5)
                    continue
                yield lease
                return


def _message(row: Mapping[str, Any]) -> dict[str, Any]:
    headers = [(header, str(row[name]).encode()) for name, header in _HEADERS.items() if row[name] is not None]
    headers.append((rules.TRIES, str(row["tries"] + 1).encode()))
    return {"topic": row["topic"], "key": row["key"], "value": row["raw"], "headers": headers}


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _PLACE)


def _shown(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
