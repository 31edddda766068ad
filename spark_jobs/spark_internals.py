"""All uses of Spark's internals, for which PySpark has no documented interface. No other file of the jobs has any.

They cover four things: single files on any file system that Hadoop knows (local disks, S3, HDFS), the settings that
spark-submit was given, the version of Delta Lake, and Spark's types for Arrow's. PySpark reaches Java through py4j, by
attributes that begin with an underscore, and a new release may change them. `TRIED` names the versions that these uses
were tried with; `check_versions` refuses others before a job reads or writes anything. `tests/spark/test_internals.py`
fails as soon as the lock names another version, and calls each function.

Only for files that fit into memory: Spark, Arrow and delta-rs read and write the tables.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyspark
from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from mlflow_project.errors import ConfigError

TRIED = {"pyspark": "4.2.0", "delta-spark": "4.4.0"}
"""Versions with which these uses were tried. Other patch releases of the same minor version are accepted."""


class Found(NamedTuple):
    """A file as Hadoop lists it: its name below the folder that was listed, its address as a URL, its size in bytes."""

    name: str
    address: str
    size: int


class Listing(NamedTuple):
    """The files below a folder. `folder` is the folder's address, or that of the parent if a file was listed."""

    folder: str
    is_file: bool
    files: list[Found]


class Resolved(NamedTuple):
    """An address with its scheme and host, and the settings of its file system that were asked for and are set."""

    address: str
    settings: dict[str, str]


def check_versions(pyspark_version: str, delta_version: str) -> None:
    """Refuse versions of Spark and Delta Lake that these uses were not tried with.

    Raises:
        ConfigError: another minor version; the message says which one to install.
    """
    for name, found in (("pyspark", pyspark_version), ("delta-spark", delta_version)):
        if found.split(".")[:2] != TRIED[name].split(".")[:2]:
            raise ConfigError(
                f"These jobs need {name} {TRIED[name]} and this Spark has {found}; nothing was read or written. "
                f"Install {name}=={TRIED[name]} (`make setup` does), or submit to a cluster with that version."
            )


def given_settings() -> SparkConf:
    """The settings of spark-submit and spark-defaults. Starts Java, because only a running Java knows them."""
    SparkContext._ensure_initialized()
    return SparkConf()


def submitted_settings() -> dict[str, str]:
    """The settings of spark-submit, which has started Java already. Empty if plain Python runs the job."""
    return dict(given_settings().getAll()) if "PYSPARK_GATEWAY_PORT" in os.environ else {}


def check_session(spark: SparkSession) -> None:
    """Check that a session has Delta Lake, in a version that these jobs were tried with.

    Raises:
        ConfigError: Delta Lake is missing, or a version is another one.
    """
    try:
        delta_version = str(spark._jvm.io.delta.package.VERSION())
    except (Py4JError, TypeError) as error:
        raise ConfigError(
            "Spark has no Delta Lake: run `make up`, which writes spark-defaults with its jars, or give spark-submit "
            f"`--packages io.delta:delta-spark_4.2_2.13:{TRIED['delta-spark']}`."
        ) from error
    check_versions(pyspark.__version__, delta_version)


def spark_types(columns: pa.Schema) -> StructType:
    """Arrow's columns as Spark's type."""
    return from_arrow_schema(columns)


def resolve(spark: SparkSession, address: str, settings: Sequence[str] = ()) -> Resolved:
    """The whole address of a path, and the named Hadoop settings that its file system uses."""
    files, path = _at(spark, address)
    conf = files.getConf()
    found = {name: str(conf.getTrimmed(name, "")) for name in settings}
    return Resolved(str(files.makeQualified(path).toUri()), {name: value for name, value in found.items() if value})


def exists(spark: SparkSession, address: str) -> bool:
    """Whether there is a file or a folder."""
    files, path = _at(spark, address)
    return bool(files.exists(path))


def names(spark: SparkSession, folder: str) -> list[str]:
    """The names in a folder. Of a file, its own name; an empty list where nothing exists."""
    files, path = _at(spark, folder)
    if not files.exists(path):
        return []
    return [str(status.getPath().getName()) for status in files.listStatus(path)]


def files_below(spark: SparkSession, address: str, most: int) -> Listing:
    """The files in a folder and its subfolders, at most so many. Of a file, the file alone."""
    files, path = _at(spark, address)
    root = files.getFileStatus(path)
    folder = str(root.getPath() if root.isDirectory() else root.getPath().getParent())
    below = len(folder.rstrip("/")) + 1  # the address of a bucket ends with a slash
    found: list[Found] = []
    listed = files.listFiles(path, True)
    while len(found) < most and listed.hasNext():
        file = listed.next()
        place = file.getPath()
        found.append(Found(str(place)[below:], str(place.toUri().toString()), int(file.getLen())))
    return Listing(folder, not root.isDirectory(), found)


def read(spark: SparkSession, address: str) -> bytes:
    """The bytes of a file."""
    files, path = _at(spark, address)
    stream = files.open(path)
    try:
        return bytes(stream.readAllBytes())
    finally:
        stream.close()


def write(spark: SparkSession, address: str, data: bytes) -> None:
    """Write a file, in place of an existing one."""
    files, path = _at(spark, address)
    stream = files.create(path, True)
    try:
        for begin in range(0, len(data), 1 << 20):
            stream.write(bytearray(data[begin : begin + (1 << 20)]))
    finally:
        stream.close()


def write_new(spark: SparkSession, address: str, data: bytes) -> bool:
    """Write a file that appears whole or not at all. Returns False if the file exists already."""
    files, path = _at(spark, address)
    begun = f"{address}.{uuid.uuid4().hex}.tmp"
    write(spark, begun, data)
    if not files.exists(path) and files.rename(_at(spark, begun)[1], path):
        return True
    remove(spark, begun)
    return False


def remove(spark: SparkSession, address: str) -> None:
    """Remove a file, if it exists."""
    files, path = _at(spark, address)
    files.delete(path, False)


def _at(spark: SparkSession, address: str) -> tuple[Any, Any]:
    """Hadoop's file system and path of an address."""
    path = spark._jvm.org.apache.hadoop.fs.Path(address)
    return path.getFileSystem(spark._jsc.hadoopConfiguration()), path
