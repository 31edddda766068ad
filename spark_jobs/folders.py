"""How Spark's Python workers and delta-rs reach a folder. In: an address that Hadoop knows. Out: a `Folder`.

Arrow and delta-rs reach local disks and S3. For every other file system that Hadoop knows (HDFS, for example), Spark
reads, and the driver writes the files that workers hand over as bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pyarrow import fs
from pyspark.sql import SparkSession

from spark_jobs import spark_internals

_S3_OPTIONS = {
    "access_key": ("fs.s3a.access.key", "AWS_ACCESS_KEY_ID"),
    "secret_key": ("fs.s3a.secret.key", "AWS_SECRET_ACCESS_KEY"),
    "session_token": ("fs.s3a.session.token", "AWS_SESSION_TOKEN"),
    "region": ("fs.s3a.endpoint.region", "AWS_REGION"),
}
"""Arrow's options for S3, with Hadoop's and delta-rs's names for each."""
_ENDPOINT, _SSL = "fs.s3a.endpoint", "fs.s3a.connection.ssl.enabled"


@dataclass(frozen=True)
class Folder:
    """A folder, and the library that reaches it: Arrow on the local disk or in S3, else Hadoop alone.

    `path` is Arrow's path (`bucket/key` in S3); `options` are what an S3 client needs.
    """

    address: str
    access: Literal["local", "s3", "hadoop"] = "hadoop"
    path: str = ""
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    def files(self) -> fs.FileSystem:
        """Arrow's file system. Not for folders that Hadoop alone reaches."""
        return fs.S3FileSystem(**self.options) if self.access == "s3" else fs.LocalFileSystem()

    def open(self, name: str) -> Any:
        """Open a file of this folder for writing."""
        files = self.files()
        if self.access == "local":
            files.create_dir(self.path, recursive=True)
        return files.open_output_stream(f"{self.path}/{name}")

    def for_delta_rs(self) -> tuple[str, dict[str, str]]:
        """The address and the storage options by which delta-rs reaches this folder."""
        if self.access == "local":
            return self.path, {}
        options = {own: self.options[name] for name, (_, own) in _S3_OPTIONS.items() if name in self.options}
        if "endpoint_override" in self.options:
            options["AWS_ENDPOINT_URL"] = f"{self.options['scheme']}://{self.options['endpoint_override']}"
            options["AWS_ALLOW_HTTP"] = str(self.options["scheme"] == "http").lower()
        return f"s3://{self.path}", {**options, "aws_conditional_put": "etag"}


def folder(spark: SparkSession, address: str) -> Folder:
    """Find out how workers reach an address. For S3, asks once whether Arrow gets access with Hadoop's settings."""
    found = spark_internals.resolve(spark, address, [_ENDPOINT, _SSL, *(name for name, _ in _S3_OPTIONS.values())])
    parts = urlsplit(found.address)
    if parts.scheme == "file":
        return Folder(address, "local", unquote(parts.path))
    if parts.scheme in ("s3a", "s3"):
        options = _s3_options(found.settings)
        try:
            fs.S3FileSystem(**options).get_file_info(parts.netloc)
        except OSError:
            return Folder(address)
        return Folder(address, "s3", f"{parts.netloc}{unquote(parts.path)}", options)
    return Folder(address)


def _s3_options(settings: Mapping[str, str]) -> dict[str, str]:
    """Hadoop's settings for S3 as Arrow's options. What is not set is left to Arrow's own chain of credentials."""
    options = {option: settings[name] for option, (name, _) in _S3_OPTIONS.items() if name in settings}
    endpoint = settings.get(_ENDPOINT, "")
    if endpoint:
        options["endpoint_override"] = endpoint.split("://")[-1]
    secure = settings.get(_SSL, "true").lower() != "false" and not endpoint.startswith("http://")
    return {"scheme": "https" if secure else "http", **options}
