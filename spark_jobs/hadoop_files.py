"""Small files on any Hadoop file system: local, s3a, hdfs. In: addresses. Out: names, bytes. For what one process can
hold; tables are Spark's own work."""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession


def names(spark: SparkSession, folder: str) -> list[str]:
    """What lies in a folder (a file there is its own only name); nothing where there is none."""
    files, place = at(spark, folder)
    if not files.exists(place):
        return []
    return [str(status.getPath().getName()) for status in files.listStatus(place)]


def write(spark: SparkSession, path: str, data: bytes) -> None:
    """Write a file, whatever was there."""
    files, place = at(spark, path)
    stream = files.create(place, True)
    try:
        for begin in range(0, len(data), 1 << 20):
            stream.write(bytearray(data[begin : begin + (1 << 20)]))
    finally:
        stream.close()


def remove(spark: SparkSession, path: str) -> None:
    """Take a file away, if it is there."""
    files, place = at(spark, path)
    files.delete(place, False)


def at(spark: SparkSession, path: str) -> tuple[Any, Any]:
    """Java's file system and path of an address."""
    place = spark._jvm.org.apache.hadoop.fs.Path(path)
    return place.getFileSystem(spark._jsc.hadoopConfiguration()), place
