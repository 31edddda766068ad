"""The Spark session of a job, and what a job says when Spark, Delta or the store fail.

Settings given on the command line or in spark-defaults win over ours: only what nobody set is set here.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException, PythonException
from pyspark.sql import SparkSession

from mlflow_project.errors import ConfigError, InvalidData, NotFound, Refused, Unavailable, WorkspaceError

logging.getLogger("DataFrameQueryContextLogger").setLevel(logging.CRITICAL)  # it prints stack traces; we say a sentence

_DEFAULTS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "512",  # half the memory of the default, the same speed
    "spark.sql.execution.arrow.maxBytesPerBatch": "4194304",
    "spark.sql.inMemoryColumnarStorage.compressed": "false",  # texts hold no runs to look for
    "spark.sql.files.maxPartitionBytes": "32m",  # small tasks write small files: a small change touches few of them
    "spark.sql.ansi.enabled": "true",
    "spark.databricks.delta.snapshotPartitions": "2",
}


def spark_session(name: str) -> SparkSession:
    """The session that spark-submit made ready, or a local one.

    Raises:
        ConfigError: Spark has no Delta Lake.
    """
    SparkContext._ensure_initialized()  # only a running JVM knows what spark-submit and spark-defaults were told
    given = SparkConf()
    ours = {**_DEFAULTS, "spark.app.name": name, "spark.ui.showConsoleProgress": str(sys.stderr.isatty()).lower()}
    builder = SparkSession.builder
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


_TOLD_TWICE = ("org.apache.spark.executor.Executor", "org.apache.spark.scheduler.TaskSetManager")
"""Loggers that print the stack trace of a failed task, which reaches the driver as an exception too."""


def _without_traces(spark: SparkSession) -> None:
    log4j = spark._jvm.org.apache.logging.log4j
    for name in _TOLD_TWICE:
        log4j.core.config.Configurator.setLevel(name, log4j.Level.OFF)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Spark's errors as ours: one sentence, the right exit code, the cause kept for the log.

    What our own code raised in a Python worker stays a defect, unless a file or the store failed it.
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
        "the store does not answer: is it up? `make status` tells, `make up` starts it",
    ),
    (("NoSuchBucket", "bucket does not exist"), NotFound, "the bucket does not exist"),
    (
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "Status Code: 403", "Permission denied"),
        InvalidData,
        "access is refused: check the credentials and who owns the place",
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
        "Spark lost a worker, most likely for want of memory; give `--driver-memory` or `--executor-memory`",
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
    """What the innermost of Java's errors says; the outer ones only say that a call failed."""
    inner = getattr(error, "java_exception", None)
    if inner is None:
        return str(error)
    while inner.getCause() is not None:
        inner = inner.getCause()
    return f"{inner.getClass().getSimpleName()}: {inner.getMessage()}"
