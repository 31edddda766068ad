"""The log of one Delta table: its version, the notes of its commits, and commits of files that executors wrote.

In: a `Folder` and the files to add and remove. Out: Delta versions. delta-rs makes the commits: its documented
`DeltaTable.create_write_transaction` takes files that another program wrote, and all of a commit becomes visible at
once, by an atomic rename on a local disk and by a conditional PUT in S3. If delta-rs does not reach a file system, the
log is copied to a local folder, the commit is made there, and its file is then put into the table.
"""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, PostCommitHookProperties, Schema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions
from pyspark.sql import SparkSession

from mlflow_project.adapters import delta_tables
from mlflow_project.errors import InvalidData, NotFound, Refused, WorkspaceError
from spark_jobs import spark_internals
from spark_jobs.folders import Folder
from spark_jobs.table_files import Written

_ATTEMPT = "switchyard.attempt"
_PLAIN_FEATURES = frozenset({"appendOnly", "invariants"})
_CONFIGURATION = {"delta.enableDeletionVectors": "false", "delta.checkpointInterval": "10"}


class TableLog:
    """The log of a table as it was when this object was made.

    If another writer commits after that, `commit` fails, so no change is built on rows that this run never saw. `key`
    is the column of document ids.

    Raises:
        InvalidData: the table uses Delta features that these jobs do not write. Unavailable: the store does not answer.
    """

    def __init__(self, spark: SparkSession, folder: Folder, columns: pa.Schema, key: str) -> None:
        self.folder, self.columns, self.key = folder, columns, key
        reached = folder.access != "hadoop" and delta_tables.has_plain_address(folder.path)
        self._copy = None if reached else _LogCopy(spark, folder.address)
        self._uri, self._options = folder.for_delta_rs() if self._copy is None else (self._copy.path, {})
        self._table = self._open()

    @property
    def version(self) -> int | None:
        """The Delta version, or None without a table."""
        return None if self._table is None else int(self._table.version())

    def notes(self, limit: int | None = None) -> Iterator[tuple[int, str | None]]:
        """The versions of the newest commits and the notes of their writers, the newest first."""
        return notes(self._table, limit) if self._table is not None else iter(())

    def ask(self, query: str) -> pa.Table | None:
        """Run a small query over the table `here` with delta-rs. Returns None if only Spark can run it."""
        if self._table is None or self._copy is not None:
            return None
        with suppress(WorkspaceError):
            return delta_tables.read(query, {"here": self._table})
        return None

    def commit(self, added: Sequence[Written], removed: Mapping[str, int], note: str = "") -> None:
        """Add files to the table and remove others (by name, with their bytes) in one commit; creates the table.

        A table of an older release first gets the columns that it lacks, in a commit that repeats the newest note. They
        are null in the rows that it has.

        Raises:
            Refused: another writer committed since this log was opened; the table is as that writer left it.
            Unavailable: the store does not answer.
        """
        missing = self.missing_columns()
        if missing:
            newest = next((text for _, text in self.notes(1)), None)
            self._attempt(partial(self._add_columns, missing), newest or "")
        self._attempt(partial(self._write, added, removed), note)

    def missing_columns(self) -> list[Field]:
        """The columns that a table of an older release lacks."""
        if self._table is None:
            return []
        held = {field.name for field in self._table.schema().fields}
        return [field for field in Schema.from_arrow(self.columns).fields if field.name not in held]

    def _attempt(self, write: Callable[[dict[str, str]], None], note: str) -> None:
        """Make one commit, with a note. `write` gets the metadata of the commit, and raises what delta-rs raises."""
        attempt = uuid.uuid4().hex
        version = 0 if self.version is None else self.version + 1
        try:
            write({_ATTEMPT: attempt, **({"userMetadata": note} if note else {})})
            if self._copy is not None and not self._copy.publish(version):
                raise self._taken()
        except (DeltaError, OSError) as error:
            if not self._was_made(attempt):  # else the commit is there, and only the store's answer was lost
                if isinstance(error, CommitFailedError) or "already exists" in str(error):
                    raise self._taken() from error
                raise delta_tables.translated(f"Writing to {self.folder.address} failed", error) from error
        self._table = self._open()

    def _add_columns(self, columns: list[Field], metadata: dict[str, str]) -> None:
        assert self._table is not None, "a new table has all columns"
        properties, hooks = self._properties(metadata)
        self._table.alter.add_columns(columns, commit_properties=properties, post_commithook_properties=hooks)

    def _properties(self, metadata: dict[str, str]) -> tuple[CommitProperties, PostCommitHookProperties]:
        """The properties of a commit that is tried once."""
        hooks = PostCommitHookProperties(self._copy is None, None if self._copy is None else False)
        return CommitProperties(metadata, max_commit_retries=0), hooks

    def _write(self, added: Sequence[Written], removed: Mapping[str, int], metadata: dict[str, str]) -> None:
        """Write a commit, as the first one of a new table or as the next one. Tries once."""
        schema, adds = Schema.from_arrow(self.columns), [self._add(file) for file in added]
        properties, hooks = self._properties(metadata)
        if self._table is None:
            create_table_with_add_actions(
                self._uri,
                schema,
                adds,
                configuration={**_CONFIGURATION, "delta.dataSkippingStatsColumns": self.key},
                storage_options=self._options or None,
                commit_properties=properties,
                post_commithook_properties=hooks,
            )
        else:
            removes = [RemoveAction(name, True, _now(), size, {}) for name, size in removed.items()]
            self._table.create_write_transaction(
                [*adds, *removes],
                "append",
                schema,
                commit_properties=properties,
                post_commithook_properties=hooks,
            )

    def _open(self) -> DeltaTable | None:
        try:
            table = delta_tables.open_table(self._uri, None, self._options)
        except NotFound:
            return None
        protocol = table.protocol()
        features = {*(protocol.reader_features or ()), *(protocol.writer_features or ())} - _PLAIN_FEATURES
        if features or protocol.min_reader_version == 2 or 2 < protocol.min_writer_version < 7:
            named = ", ".join(sorted(features)) or f"writer version {protocol.min_writer_version}"
            raise InvalidData(
                f"{self.folder.address} uses Delta features that this job does not write ({named}): remove them with "
                "`ALTER TABLE … DROP FEATURE`, or name another output path."
            )
        return table

    def _was_made(self, attempt: str) -> bool:
        """Whether the newest commit of the table has this id."""
        table = self._open() if self._copy is None else None
        return table is not None and table.history(1)[0].get(_ATTEMPT) == attempt

    def _add(self, file: Written) -> AddAction:
        bounds = {"minValues": {self.key: file.low}, "maxValues": {self.key: file.high}, "nullCount": {self.key: 0}}
        statistics = json.dumps({"numRecords": file.rows, **bounds})
        return AddAction(file.name, file.size, {}, _now(), True, statistics)

    def _taken(self) -> Refused:
        return Refused(f"Another writer changed {self.folder.address} at the same time. Run the same command again.")


class _LogCopy:
    """A local copy of the log of a table that delta-rs does not reach."""

    def __init__(self, spark: SparkSession, address: str) -> None:
        self._spark, self._log = spark, f"{address}/_delta_log"
        self._folder = tempfile.TemporaryDirectory(prefix="delta-log-")
        self.path = self._folder.name
        for name in spark_internals.names(spark, self._log):
            if name.endswith((".json", ".parquet")) or name == "_last_checkpoint":
                self._file(name).write_bytes(spark_internals.read(spark, f"{self._log}/{name}"))

    def publish(self, version: int) -> bool:
        """Put the commit of this version into the table. Returns False if another writer was first."""
        name = f"{version:020d}.json"
        return spark_internals.write_new(self._spark, f"{self._log}/{name}", self._file(name).read_bytes())

    def _file(self, name: str) -> Path:
        folder = Path(self.path) / "_delta_log"
        folder.mkdir(exist_ok=True)
        return folder / name


def newest_version(spark: SparkSession, table: str) -> int | None:
    """The newest version of a table on any Hadoop file system, or None without a table. Lists names only."""
    names = spark_internals.names(spark, f"{table}/_delta_log")
    versions = [int(name[:20]) for name in names if name[:20].isdigit() and name[20:] == ".json"]
    return max(versions, default=None)


def notes(table: DeltaTable, limit: int | None = None) -> Iterator[tuple[int, str | None]]:
    """The versions of a table's newest commits and the notes of their writers, the newest first."""
    for back, commit in enumerate(table.history(limit)):
        yield int(table.version()) - back, commit.get("userMetadata")


def _now() -> int:
    return time.time_ns() // 1_000_000
