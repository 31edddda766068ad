"""The Spark session of a job, and the messages for failures of Spark, Delta Lake or the object store.

Settings from the command line and from spark-defaults win over the defaults of this module.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from py4j.protocol import Py4JError, Py4JJavaError, Py4JNetworkError
from pyspark.errors import PySparkException, PythonException
from pyspark.sql import SparkSession

from mlflow_project.errors import InvalidData, NotFound, Refused, Unavailable, WorkspaceError
from spark_jobs import spark_internals

_DEFAULTS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "512",  # half the memory of the default, the same speed
    "spark.sql.execution.arrow.maxBytesPerBatch": "4194304",
    "spark.sql.inMemoryColumnarStorage.compressed": "false",  # this compression hardly shrinks texts and takes time
    "spark.sql.files.maxPartitionBytes": "32m",  # small tasks write small files: a small change touches few of them
    "spark.sql.ansi.enabled": "true",
    "spark.databricks.delta.snapshotPartitions": "2",
}


LOG_LEVEL = "FATAL"
"""Below this level Spark logs stack traces of errors that a job gets as exceptions. `--conf spark.log.level=WARN` shows
them."""


def spark_session(name: str) -> SparkSession:
    """The session that spark-submit prepared, or a local one.

    Raises:
        ConfigError: Spark has no Delta Lake, or a version of Spark or Delta Lake is not one that these jobs know.
    """
    _log_no_stack_traces()
    given = spark_internals.given_settings()
    builder = SparkSession.builder.config("spark.ui.showConsoleProgress", "false")  # else on if Python starts Java
    for key, value in {**_DEFAULTS, "spark.app.name": name}.items():
        if not given.contains(key):
            builder = builder.config(key, value)
    with translated("Starting Spark"), _interrupts_as_before():
        spark = builder.getOrCreate()
        spark.sparkContext.setLogLevel(given.get("spark.log.level", LOG_LEVEL))
        spark_internals.check_session(spark)
    return spark


@contextmanager
def spark_job(name: str, doing: str) -> Iterator[SparkSession]:
    """A session that is stopped when the block ends. Spark's errors in the block become ours and begin with `doing`."""
    spark = spark_session(name)
    try:
        with translated(doing):
            yield spark
    finally:
        with suppress(Py4JError, OSError):  # Java may have ended first, by the same signal
            spark.stop()


def _log_no_stack_traces() -> None:
    """Stop PySpark and py4j from logging errors that they raise as well."""
    for name in ("DataFrameQueryContextLogger", "SQLQueryContextLogger"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger().addFilter(_is_not_of_py4j)


def _is_not_of_py4j(record: logging.LogRecord) -> bool:
    return "py4j" not in record.pathname


@contextmanager
def _interrupts_as_before() -> Iterator[None]:
    """Restore the handler of SIGINT. Spark's own asks Java to cancel its jobs, and fails if the signal ended Java."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


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
        if _java_is_gone(error):
            raise Unavailable(f"{doing}: Spark's Java process ended. Run the same command again.") from error
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
        "another writer changed the table at the same time; run the same command again",
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


def _java_is_gone(error: Exception) -> bool:
    """Whether the connection to Java was lost. An error inside Java comes with its exception or its trace."""
    if isinstance(error, Py4JError) and not isinstance(error, Py4JJavaError):
        return isinstance(error, Py4JNetworkError) or "Trace:" not in str(error)
    return False


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
