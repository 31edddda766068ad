"""What a Delta table's log says by itself: the newest version, and the note of its commit. No Spark job runs for it.

In: a table's address on any Hadoop file system. The names and the content of commits are Delta's open protocol.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from contextlib import closing
from typing import Any

from pyspark.sql import SparkSession

from spark_jobs import hadoop_files

NOTE = "spark.databricks.delta.commitInfo.userMetadata"
_COMMIT = re.compile(r"^(\d{20})\.json$")


def newest(spark: SparkSession, table: str) -> int | None:
    """The newest version; None when there is no table."""
    names = hadoop_files.names(spark, f"{table}/_delta_log")
    versions = [int(match[1]) for name in names if (match := _COMMIT.match(name))]
    return max(versions, default=None)


def note(spark: SparkSession, table: str, version: int) -> dict[str, Any]:
    """What the writer of a commit noted with it; empty when that was nothing of ours."""
    with closing(_lines(spark, f"{table}/_delta_log/{version:020d}.json")) as actions:
        for line in actions:  # Delta writes it first, and a commit may name thousands of files after it
            if line.startswith('{"commitInfo"'):
                return _object(json.loads(line)["commitInfo"].get("userMetadata"))
    return {}


def _lines(spark: SparkSession, path: str) -> Generator[str]:
    files, place = hadoop_files.at(spark, path)
    java = spark._jvm.java.io
    reader = java.BufferedReader(java.InputStreamReader(files.open(place), "UTF-8"))
    try:
        while (line := reader.readLine()) is not None:
            yield str(line)
    finally:
        reader.close()


def _object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
