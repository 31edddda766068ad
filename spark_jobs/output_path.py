"""Tries an output path before any work, on any Hadoop file system, so that a typing mistake is reported at once.

In: the tables of a run. Out: nothing, or one of our errors. The trial writes an empty file and removes it.
"""

from __future__ import annotations

import uuid

from pyspark.sql import SparkSession

from mlflow_project.errors import InvalidData
from spark_jobs import spark_internals, tables
from spark_jobs.session import translated
from spark_jobs.table_log import newest_version
from spark_jobs.tables import Tables


def check_output(spark: SparkSession, at: Tables, *, try_to_write: bool = True) -> None:
    """Check that the tables can be written there.

    Raises:
        InvalidData: the path is a file, holds something else, or cannot be written to. Unavailable: no answer.
    """
    with translated(f"Writing to {at.chunks}"):
        if newest_version(spark, at.chunks) is None:
            _refuse_strangers(spark, at.chunks)
            if try_to_write:
                _try_to_write(spark, at.chunks)
            return
        missing = set(tables.CHUNKS.names) - set(tables.read(spark, at.chunks).columns)
    if missing:
        raise InvalidData(
            f"{at.chunks} is a Delta table, but not one of chunks (it has no {', '.join(sorted(missing))}): name "
            "another output path."
        )


def _refuse_strangers(spark: SparkSession, path: str) -> None:
    """Refuse a folder that holds other things. Files that a killed first run left are no reason to refuse."""
    if not spark_internals.exists(spark, path):
        return
    if spark_internals.files_below(spark, path, 0).is_file:
        raise InvalidData(f"{path} is a file: name an output path at which there is none.")
    strangers = sorted(name for name in spark_internals.names(spark, path) if not name.startswith(("part-", "_", ".")))
    if strangers:
        raise InvalidData(
            f"{path} holds {strangers[0]!r} and is no Delta table: name an output path that is empty or not there yet."
        )


def _try_to_write(spark: SparkSession, path: str) -> None:
    trial = f"{path}_trial-{uuid.uuid4().hex[:8]}"
    spark_internals.write(spark, trial, b"")
    spark_internals.remove(spark, trial)
