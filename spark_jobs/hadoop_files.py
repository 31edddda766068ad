"""Small files on any file system that Hadoop knows: local disks, S3, HDFS. In: addresses. Out: names and bytes.

Only for files that fit into memory; tables are read and written by Spark, Arrow and delta-rs.
"""

from __future__ import annotations

import uuid
from typing import Any

from pyspark.sql import SparkSession


def names(spark: SparkSession, folder: str) -> list[str]:
    """The names in a folder; of a file, its own name; nothing where the folder does not exist."""
    files, path = at(spark, folder)
    if not files.exists(path):
        return []
    return [str(status.getPath().getName()) for status in files.listStatus(path)]


def read(spark: SparkSession, path: str) -> bytes:
    """The bytes of a file."""
    files, place = at(spark, path)
    stream = files.open(place)
    try:
        return bytes(stream.readAllBytes())
    finally:
        stream.close()


def write(spark: SparkSession, path: str, data: bytes) -> None:
    """Write a file, in place of the one that is there."""
    files, place = at(spark, path)
    stream = files.create(place, True)
    try:
        for begin in range(0, len(data), 1 << 20):
            stream.write(bytearray(data[begin : begin + (1 << 20)]))
    finally:
        stream.close()


def write_new(spark: SparkSession, path: str, data: bytes) -> bool:
    """Write a file that appears whole or not at all; returns False where there is one already."""
    files, place = at(spark, path)
    begun = f"{path}.{uuid.uuid4().hex}.tmp"
    write(spark, begun, data)
    if not files.exists(place) and files.rename(at(spark, begun)[1], place):
        return True
    remove(spark, begun)
    return False


def remove(spark: SparkSession, path: str) -> None:
    """Remove a file, if it is there."""
    files, place = at(spark, path)
    files.delete(place, False)


def at(spark: SparkSession, path: str) -> tuple[Any, Any]:
    """Hadoop's file system and path of an address."""
    place = spark._jvm.org.apache.hadoop.fs.Path(path)
    return place.getFileSystem(spark._jsc.hadoopConfiguration()), place
