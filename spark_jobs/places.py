"""Where an output lies, on any Hadoop file system: tried before any work, so that a typing error is told at once.

In: the tables of a run. Out: nothing, or one of our errors. The trial writes an empty file and takes it away again.
"""

from __future__ import annotations

import uuid

from pyspark.sql import SparkSession

from mlflow_project.errors import InvalidData
from spark_jobs import delta_log, tables
from spark_jobs.session import translated
from spark_jobs.tables import Tables


def check_output(spark: SparkSession, at: Tables) -> None:
    """That tables can be written there.

    Raises:
        InvalidData: the place is a file, holds something else, or cannot be written to. Unavailable: no answer.
    """
    with translated(f"Writing to {at.chunks}"):
        if delta_log.newest(spark, at.chunks) is None:
            _refuse_strangers(spark, at.chunks)
            _try_to_write(spark, at.chunks)
            return
        missing = set(tables.CHUNKS.names) - set(tables.read(spark, at.chunks).columns)
    if missing:
        raise InvalidData(
            f"{at.chunks} is a Delta table, but not one of chunks (it has no {', '.join(sorted(missing))}): name "
            "another output path."
        )


def _refuse_strangers(spark: SparkSession, path: str) -> None:
    """A folder that holds other things is no place for a table; what a killed first run left is no stranger."""
    place = spark._jvm.org.apache.hadoop.fs.Path(path)
    files = place.getFileSystem(spark._jsc.hadoopConfiguration())
    if not files.exists(place):
        return
    if files.getFileStatus(place).isFile():
        raise InvalidData(f"{path} is a file: name an output path at which there is none.")
    names = [str(status.getPath().getName()) for status in files.listStatus(place)]
    strangers = sorted(name for name in names if not name.startswith(("part-", "_", ".")))
    if strangers:
        raise InvalidData(
            f"{path} holds {strangers[0]!r} and is no Delta table: name an output path that is empty or not there yet."
        )


def _try_to_write(spark: SparkSession, path: str) -> None:
    trial = spark._jvm.org.apache.hadoop.fs.Path(f"{path}_trial-{uuid.uuid4().hex[:8]}")
    files = trial.getFileSystem(spark._jsc.hadoopConfiguration())
    files.create(trial).close()
    files.delete(trial, False)
