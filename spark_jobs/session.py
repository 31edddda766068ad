"""The Spark session of a job, and the messages for failures of Spark, Delta or the store.

Settings of the command line and of spark-defaults win: only what nobody set is set here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException, PythonException
from pyspark.sql import SparkSession

from mlflow_project.errors import ConfigError, InvalidData, NotFound, Refused, Unavailable, WorkspaceError

logging.getLogger("DataFrameQueryContextLogger").setLevel(logging.CRITICAL)  # it prints stack traces

_DEFAULTS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "512",  # half the memory of the default, the same speed
    "spark.sql.execution.arrow.maxBytesPerBatch": "4194304",
    "spark.sql.inMemoryColumnarStorage.compressed": "false",  # texts hardly compress, and trying takes time
    "spark.sql.files.maxPartitionBytes": "32m",  # small tasks write small files: a small change touches few of them
    "spark.sql.ansi.enabled": "true",
    "spark.databricks.delta.snapshotPartitions": "2",
}


def spark_session(name: str) -> SparkSession:
    """The session that spark-submit prepared, or a local one.

    Raises:
        ConfigError: Spark has no Delta Lake.
    """
    SparkContext._ensure_initialized()  # only a running JVM knows the settings of spark-submit and spark-defaults
    given = SparkConf()
    ours = {**_DEFAULTS, "spark.app.name": name}
    builder = SparkSession.builder.config("spark.ui.showConsoleProgress", "false")  # else on, where Python starts Java
    for key, value in ours.items():
        if not given.contains(key):
            builder = builder.config(key, value)
    with translated("Starting Spark"):
        spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    _without_traces(spark)
    try:
        spark._jvm.Thread.currentThread().getContextClassLoader().loadClass("io.delta.tables.DeltaTable")
    except Py4JError as error:
        raise ConfigError(
            "Spark has no Delta Lake: run `make up`, which writes spark-defaults with its jars, or give spark-submit "
            "`--packages io.delta:delta-spark_4.2_2.13:4.4.0`."
        ) from error
    return spark


@contextmanager
def spark_job(name: str, doing: str) -> Iterator[SparkSession]:
    """A session that is stopped when the block ends. Spark's errors in the block become ours and begin with `doing`."""
    spark = spark_session(name)
    try:
        with translated(doing):
            yield spark
    finally:
        spark.stop()


_LOGGERS_WITH_TRACES = ("org.apache.spark.executor.Executor", "org.apache.spark.scheduler.TaskSetManager")
"""Loggers that print the stack trace of a failed task. The driver gets the same error as an exception."""


def _without_traces(spark: SparkSession) -> None:
    log4j = spark._jvm.org.apache.logging.log4j
    for name in _LOGGERS_WITH_TRACES:
        log4j.core.config.Configurator.setLevel(name, log4j.Level.OFF)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn Spark's errors into ours: one sentence that begins with `doing`, and the right exit code.

    An error that our own code raised in a Python worker stays an internal error, unless a file or the store caused it.
    """
    try:
        yield
    except PythonException as error:
        failed = _FAILED_IN_A_WORKER.findall(str(error))
        if not failed:
            raise
        raise _known(doing, failed[-1]) or InvalidData(f"{doing}: {failed[-1][:500]}") from error
    except (PySparkException, Py4JError) as error:
        raise _ours(doing, str(error), _root(error)) from error


_SIGNS: tuple[tuple[tuple[str, ...], type[WorkspaceError], str], ...] = (
    (
        (
            "ConnectException",
            "ConnectTimeout",
            "UnknownHost",
            "Connection refused",
            "SdkClientException",
            "NETWORK_CONNECTION",
        ),
        Unavailable,
        "the store does not answer. `make status` says whether it is up, `make up` starts it",
    ),
    (("NoSuchBucket", "bucket does not exist"), NotFound, "the bucket does not exist"),
    (
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "Status Code: 403", "Permission denied"),
        InvalidData,
        "access is refused: check the credentials and the owner of the path",
    ),
    (
        ("ConcurrentAppend", "ConcurrentWrite", "ConcurrentDelete", "ConcurrentTransaction", "DELTA_CONCURRENT"),
        Refused,
        "somebody else wrote to the table at the same moment; run the same command again",
    ),
    (("No space left on device",), Unavailable, "the disk is full"),
    (
        ("OutOfMemoryError", "worker exited unexpectedly", "ExecutorLostFailure"),
        Unavailable,
        "Spark lost a worker, most likely because memory ran out; give `--driver-memory` or `--executor-memory`",
    ),
)


_FAILED_IN_A_WORKER = re.compile(r"^(?:OSError|FileNotFoundError|PermissionError|ConnectionError): (.+)$", re.MULTILINE)
_UNREAD = re.compile(r"Encountered error while reading file (\S+)\.\s")


def _known(doing: str, said: str) -> WorkspaceError | None:
    for signs, kind, sentence in _SIGNS:
        if any(sign in said for sign in signs):
            return kind(f"{doing}: {sentence}.")
    return None


def _ours(doing: str, said: str, root: str) -> WorkspaceError:
    if known := _known(doing, said):
        return known
    first = next((line.strip() for line in root.splitlines() if line.strip()), "nothing")
    unread = _UNREAD.search(said)
    what = f"{unread[1]} cannot be read" if unread else "Spark says"
    return InvalidData(f"{doing}: {what}: {first[:500]}")


def _root(error: PySparkException | Py4JError) -> str:
    """The message of the innermost Java error; the outer ones only say that a call failed."""
    inner = getattr(error, "java_exception", None)
    if inner is None:
        return str(error)
    while inner.getCause() is not None:
        inner = inner.getCause()
    return f"{inner.getClass().getSimpleName()}: {inner.getMessage()}"
