"""A folder as Spark's Python workers reach it. In: an address that Hadoop knows. Out: a `Folder`, which travels to the
workers.

Arrow reads and writes local disks and S3, and delta-rs asks of the tables there. From whatever else Hadoop knows Spark
reads, and the driver writes what the workers hand it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs
from pyspark.sql import SparkSession

from mlflow_project.adapters.delta_tables import open_table, read
from mlflow_project.errors import WorkspaceError
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

    def ask(self, query: str, version: int | None = None) -> pa.Table | None:
        """What the Delta table `here` in this folder says, by delta-rs, which has read a small one before Spark has
        planned how to; None where delta-rs does not get in, or cannot read such a table."""
        if self.way == "driver":
            return None
        address, options = (f"s3://{self.path}", _delta(self.options)) if self.way == "s3" else (self.path, None)
        try:
            return read(query, {"here": open_table(address, version, options)})
        except WorkspaceError:
            return None


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


def _delta(options: Mapping[str, Any]) -> dict[str, str]:
    """Arrow's settings of S3 as those of delta-rs; what is not set is left to its own chain."""
    names = {"access_key": "ACCESS_KEY_ID", "secret_key": "SECRET_ACCESS_KEY", "session_token": "SESSION_TOKEN"}
    found = {f"AWS_{names[name]}": options[name] for name in names if name in options}
    if "region" in options:
        found["AWS_REGION"] = options["region"]
    if "endpoint_override" in options:
        found["AWS_ENDPOINT_URL"] = f"{options['scheme']}://{options['endpoint_override']}"
        found["AWS_ALLOW_HTTP"] = str(options["scheme"] == "http").lower()
    return found
