"""What a Delta table's log says by itself: the newest version, and the note of its commit. No Spark job runs for it.

In: a table's address on any Hadoop file system. The names and the content of commits are Delta's open protocol.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pyspark.sql import SparkSession

NOTE = "spark.databricks.delta.commitInfo.userMetadata"
_COMMIT = re.compile(r"^(\d{20})\.json$")


def newest(spark: SparkSession, table: str) -> int | None:
    """The newest version; None when there is no table."""
    folder = spark._jvm.org.apache.hadoop.fs.Path(f"{table}/_delta_log")
    files = folder.getFileSystem(spark._jsc.hadoopConfiguration())
    if not files.exists(folder):
        return None
    names = [str(status.getPath().getName()) for status in files.listStatus(folder)]
    versions = [int(match[1]) for name in names if (match := _COMMIT.match(name))]
    return max(versions, default=None)


def note(spark: SparkSession, table: str, version: int) -> dict[str, Any]:
    """What the writer of a commit noted with it; empty when that was nothing of ours."""
    commit = spark._jvm.org.apache.hadoop.fs.Path(f"{table}/_delta_log/{version:020d}.json")
    stream = commit.getFileSystem(spark._jsc.hadoopConfiguration()).open(commit)
    try:
        actions = str(spark._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
    finally:
        stream.close()
    for line in actions.splitlines():
        if line.startswith('{"commitInfo"'):
            return _object(json.loads(line)["commitInfo"].get("userMetadata"))
    return {}


def _object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
