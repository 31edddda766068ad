"""A folder as Spark's Python workers reach it. In: an address that Hadoop knows. Out: a `Folder`, which travels to the
workers.

Arrow reads and writes local disks and S3. From whatever else Hadoop knows Spark reads, and the driver writes what the
workers hand it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pyarrow import fs
from pyspark.sql import SparkSession

from spark_jobs import hadoop_files

Way = Literal["local", "s3", "driver"]


@dataclass(frozen=True)
class Folder:
    """Its address, the way to it, and for S3 the folder as `bucket/key` and what a client needs."""

    address: str
    way: Way = "driver"
    path: str = ""
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    def files(self) -> fs.FileSystem:
        """Arrow's file system; the workers' own ways alone."""
        return fs.S3FileSystem(**self.options) if self.way == "s3" else fs.LocalFileSystem()

    def open(self, name: str) -> Any:
        """A stream into a file of this folder."""
        files = self.files()
        if self.way == "local":
            files.create_dir(self.path, recursive=True)
        return files.open_output_stream(f"{self.path}/{name}")


def folder(spark: SparkSession, address: str) -> Folder:
    """How workers reach an address. S3 is asked once whether Arrow gets in by what Hadoop was told about it."""
    files, place = hadoop_files.at(spark, address)
    parts = urlsplit(str(files.makeQualified(place).toUri()))
    if parts.scheme == "file":
        return Folder(address, "local", unquote(parts.path))
    if parts.scheme in ("s3a", "s3"):
        options = _s3(files.getConf())
        try:
            fs.S3FileSystem(**options).get_file_info(parts.netloc)
        except OSError:
            return Folder(address)
        return Folder(address, "s3", f"{parts.netloc}{unquote(parts.path)}", options)
    return Folder(address)


def _s3(conf: Any) -> dict[str, Any]:
    """Hadoop's settings of S3 as Arrow's; those that nobody set are left to Arrow's own chain."""
    endpoint = conf.getTrimmed("fs.s3a.endpoint", "")
    secure = conf.getBoolean("fs.s3a.connection.ssl.enabled", True) and not endpoint.startswith("http://")
    found = {
        "access_key": conf.getTrimmed("fs.s3a.access.key", ""),
        "secret_key": conf.getTrimmed("fs.s3a.secret.key", ""),
        "session_token": conf.getTrimmed("fs.s3a.session.token", ""),
        "region": conf.getTrimmed("fs.s3a.endpoint.region", ""),
        "endpoint_override": endpoint.split("://")[-1],
    }
    return {"scheme": "https" if secure else "http", **{name: value for name, value in found.items() if value}}
