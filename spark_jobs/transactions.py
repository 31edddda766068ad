"""Commits of files that our workers wrote, through Delta's own transactions: conflicts, checkpoints and the way of
committing on each file system are Delta's. What is committed is said in the open protocol's JSON.

In: a table's address; `Written` files. Out: Delta versions.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
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

    def commit(self, key: str, added: Sequence[Written], removed: Sequence[str], note: str = "") -> None:
        """Put files into the table and take others out, at once."""
        actions = self._jvm.java.util.ArrayList()
        for name in removed:
            gone = {"path": name, "deletionTimestamp": _now(), "dataChange": True}
            actions.add(self._action({"remove": gone}))
        for file in added:
            actions.add(self._action({"add": _add(file, key)}))
        manual = getattr(self._delta, "DeltaOperations$ManualUpdate$")
        if note:
            self._spark.conf.set(delta_log.NOTE, note)
        try:
            listed = self._jvm.scala.jdk.javaapi.CollectionConverters.asScala(actions).toSeq()
            self._open.commit(listed, getattr(manual, "MODULE$"))
        finally:
            self._spark.conf.unset(delta_log.NOTE)

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


def _now() -> int:
    return time.time_ns() // 1_000_000
