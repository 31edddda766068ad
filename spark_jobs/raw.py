"""Raw input of any kind as rows of bytes, each with its place. Nothing is parsed here, so nothing can be lost here.

Inputs: JSON lines (plain or gzip; conversations too), folders of .txt, .md and .html, Parquet, a Delta table; local,
s3a or any Hadoop path. Plain lines on file systems that Arrow reaches are read by the Python workers themselves, all
else by Spark.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.sql.types import StructType

from mlflow_project.errors import InvalidData, NotFound
from spark_jobs import pieces
from spark_jobs.folders import folder
from spark_jobs.rows import Reader, Step, counted

Form = Literal["lines", "files", "parquet", "delta"]

_FORMS: dict[str, Form] = {
    ".json": "lines",
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".gz": "lines",
    ".txt": "files",
    ".md": "files",
    ".markdown": "files",
    ".html": "files",
    ".htm": "files",
    ".parquet": "parquet",
}
_ENOUGH = 10_000


class Raw(NamedTuple):
    """The input, in which form it was found, and the folder that file names are told from. `read` makes rows of what
    `data` brings to an executor."""

    data: DataFrame
    read: Reader
    form: Form
    base: str

    def through(self, step: Step, columns: StructType | str) -> DataFrame:
        """What a step makes of all rows."""
        return self.data.mapInArrow(partial(_through, read=self.read, step=step), columns)


def read_raw(spark: SparkSession, path: str, form: Form | None = None, id_field: str = "id") -> Raw:
    """Find out what lies at a path, and how to read it.

    Raises:
        NotFound: nothing is there. InvalidData: it holds nothing that is known, or several kinds of things.
    """
    place = _hadoop_path(spark, path)
    files = place.getFileSystem(spark._jsc.hadoopConfiguration())
    if not files.exists(place):
        raise NotFound(f"There is no input at {path}: check the path; `s3a://bucket/key` for the object store.")
    root = files.getFileStatus(place)
    base = str(root.getPath() if root.isDirectory() else root.getPath().getParent())
    found: list[Any] = []
    if form is None and files.exists(_hadoop_path(spark, f"{path}/_delta_log")):
        form = "delta"
    if form in (None, "lines"):
        found = _found(files, root)
        form = form or _form(path, [_name(each) for each in found])
    if form == "lines":
        return _lines(spark, path, base, found)
    if form == "files":
        return Raw(_files(spark, path), counted, form, base)
    return Raw(_as_json(spark.read.format(form).load(path), id_field), counted, form, base)


def _through(batches: Iterator[pa.RecordBatch], read: Reader, step: Step) -> Iterator[pa.RecordBatch]:
    return step(read(batches))


def _lines(spark: SparkSession, path: str, base: str, found: list[Any]) -> Raw:
    where = folder(spark, base)
    if where.way == "driver" or len(found) == _ENOUGH or _any_packed(spark, found):
        text = spark.read.option("lineSep", "\n").option("recursiveFileLookup", "true").text(path)
        return Raw(_placed(text.withColumn("value", f.col("value").cast("binary"))), counted, "lines", base)
    plan = _planned(spark, where.way == "s3", found)
    return Raw(spark.range(0, len(plan), 1, max(1, len(plan))), pieces.PieceReader(where, plan), "lines", base)


def _planned(spark: SparkSession, in_bucket: bool, found: list[Any]) -> list[list[pieces.Piece]]:
    files = []
    for status in found:
        address = str(status.getPath().toUri().toString()).replace("file:///", "file:/", 1)  # as Spark spells it
        parts = urlsplit(address)
        path = parts.netloc + unquote(parts.path) if in_bucket else unquote(parts.path)
        files.append(pieces.File(address, path, int(status.getLen())))
    conf = spark._jsparkSession.sessionState().conf()
    sizes = int(conf.filesMaxPartitionBytes()), int(conf.filesOpenCostInBytes())
    return pieces.planned(sorted(files), *sizes, spark.sparkContext.defaultParallelism)


def _any_packed(spark: SparkSession, found: list[Any]) -> bool:
    """Whether Hadoop would unpack any of them, by its name."""
    codecs = spark._jvm.org.apache.hadoop.io.compress.CompressionCodecFactory(spark._jsc.hadoopConfiguration())
    endings = {PurePosixPath(_name(each)).suffix for each in found}
    return any(codecs.getCodec(_hadoop_path(spark, f"/lines{ending}")) is not None for ending in endings)


def _files(spark: SparkSession, path: str) -> DataFrame:
    whole = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(path)
    return whole.select(
        f.col("content").alias("value"), f.col("path").alias("file"), f.lit(0).cast("long").alias("block")
    )


def _as_json(table: DataFrame, id_field: str) -> DataFrame:
    """Typed rows as JSON; a numeric key is text here, since the table's type leaves no doubt about it."""
    columns = [
        f.col(f"`{field.name}`").cast("string").alias(field.name)
        if field.name == id_field and field.dataType.typeName() in ("long", "integer", "short")
        else f.col(f"`{field.name}`")
        for field in table.schema.fields
    ]
    return _placed(table.withColumn("value", f.to_json(f.struct(*columns)).cast("binary")))


def _placed(table: DataFrame) -> DataFrame:
    place = f.col("_metadata.file_path").alias("file"), f.col("_metadata.file_block_start").alias("block")
    return table.select("value", *place)


def _form(path: str, names: list[str]) -> Form:
    packed = next((name for name in names if _is_packed_text(name)), None)
    if packed:
        raise InvalidData(
            f"{packed} (in {path}) is packed: JSON lines alone are read from gzip. Unpack it; where it holds JSON "
            "lines after all, `--form lines` says so."
        )
    found = {_FORMS.get(PurePosixPath(name).suffix.lower()) for name in names}
    known = {form for form in found if form}
    if len(known) == 1 and None not in found:
        return known.pop()
    if len(names) == 1 and not known:
        return "lines"
    what = "several kinds of files" if known else "no file of a known kind"
    raise InvalidData(
        f"{path} holds {what}: one of {', '.join(_FORMS)} is wanted, or a Delta table; `--form` says which to read."
    )


def _is_packed_text(name: str) -> bool:
    """Whether it is `page.md.gz` or the like, whose lines are no JSON."""
    path = PurePosixPath(name.lower())
    return path.suffix == ".gz" and _FORMS.get(PurePosixPath(path.stem).suffix, "lines") != "lines"


def _found(files: Any, root: Any) -> list[Any]:
    """Hadoop's statuses of the files, of so many at most; of hidden ones as Spark counts them, none."""
    if not root.isDirectory():
        return [root]
    below = len(str(root.getPath()).rstrip("/")) + 1  # a bucket's own path ends with the slash
    found: list[Any] = []
    listed = files.listFiles(root.getPath(), True)
    while listed.hasNext() and len(found) < _ENOUGH:
        status = listed.next()
        if not any(_is_hidden(part) for part in str(status.getPath())[below:].split("/")):
            found.append(status)
    return found


def _is_hidden(name: str) -> bool:
    return name[:1] == "." or (name[:1] == "_" and "=" not in name) or name.endswith("._COPYING_")


def _name(status: Any) -> str:
    return str(status.getPath().getName())


def _hadoop_path(spark: SparkSession, path: str) -> Any:
    return spark._jvm.org.apache.hadoop.fs.Path(path)
