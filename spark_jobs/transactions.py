"""Commits of files that our workers wrote, through Delta's own transactions: conflicts, checkpoints and the way of
committing on each file system are Delta's. What is committed is said in the open protocol's JSON.

In: a table's address; `Written` files. Out: Delta versions.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

from spark_jobs import delta_log
from spark_jobs.table_files import Written


class Transaction:
    """One table's next commit. It begins when it is made: what others commit from then on makes it fail."""

    def __init__(self, spark: SparkSession, table: str) -> None:
        self._spark, self._jvm, self.table = spark, spark._jvm, table
        self._delta = self._jvm.org.apache.spark.sql.delta
        self._open = self._delta.DeltaLog.forTable(spark._jsparkSession, table).startTransaction()
        self._open.readWholeTable()

    @property
    def is_new(self) -> bool:
        """Whether there is no table yet."""
        return int(self._open.readVersion()) < 0

    def create(self, columns: StructType, key: str) -> None:
        """Make the table with this commit: plain Delta, which other readers know, with statistics of ids alone."""
        metadata = {
            "id": str(uuid.uuid4()),
            "format": {"provider": "parquet", "options": {}},
            "schemaString": columns.json(),
            "partitionColumns": [],
            "configuration": {"delta.enableDeletionVectors": "false", "delta.dataSkippingStatsColumns": key},
            "createdTime": _now(),
        }
        self._open.updateMetadataForNewTable(self._action({"metaData": metadata}))

    def commit(self, key: str, added: Sequence[Written], removed: Mapping[str, int], note: str = "") -> None:
        """Put files into the table and take others out (by name, with their bytes), at once."""
        actions = self._jvm.java.util.ArrayList()
        for name, size in removed.items():
            actions.add(self._action({"remove": _remove(name, size)}))
        for file in added:
            actions.add(self._action({"add": _add(file, key)}))
        if note:
            self._spark.conf.set(delta_log.NOTE, note)
        try:
            listed = self._jvm.scala.jdk.javaapi.CollectionConverters.asScala(actions).toSeq()
            self._open.commit(listed, self._operation("Overwrite" if removed else "Append"))
        finally:
            self._spark.conf.unset(delta_log.NOTE)

    def _operation(self, mode: str) -> Any:
        """What the history calls this commit. Of a `ManualUpdate` Delta trusts no sums: it would read the whole log
        again after each commit, which takes longer than many a commit's work."""
        none = self._jvm.scala.Option.empty()
        saved = self._jvm.org.apache.spark.sql.SaveMode.valueOf(mode)
        return getattr(self._delta, "DeltaOperations$Write")(saved, *[none] * 8)

    def _action(self, action: dict[str, Any]) -> Any:
        return self._delta.actions.Action.fromJson(json.dumps(action))


def _add(file: Written, key: str) -> dict[str, Any]:
    bounds = {"minValues": {key: file.low}, "maxValues": {key: file.high}, "nullCount": {key: 0}}
    return {
        "path": file.name,
        "partitionValues": {},
        "size": file.size,
        "modificationTime": _now(),
        "dataChange": True,
        "stats": json.dumps({"numRecords": file.rows, **bounds}),
    }


def _remove(name: str, size: int) -> dict[str, Any]:
    """With its bytes, so that Delta reckons the table's size from commit to commit."""
    known = {"extendedFileMetadata": True, "partitionValues": {}, "size": size}
    return {"path": name, "deletionTimestamp": _now(), "dataChange": True, **known}


def _now() -> int:
    return time.time_ns() // 1_000_000
