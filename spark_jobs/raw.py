"""Reads raw input of any kind as rows of bytes, each with its source location. Parses nothing.

In: JSON lines (plain or gzip; conversations too), folders of texts and documents (.md, .pdf, .docx and so on), Parquet,
or a Delta table, also a raw table of ingestion; on a local disk, in S3 or on any file system that Hadoop knows. Out: a
`Raw`. Spark's Python workers
read plain lines themselves if Arrow reaches the file system; Spark reads everything else. A file without any line is
one row whose bytes are None.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.sql.types import StructType

from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.rules.documents.kinds import ENDINGS
from spark_jobs import spark_internals
from spark_jobs.folders import folder
from spark_jobs.ingested_source import Ingested, Seen, is_ingested, rows_since
from spark_jobs.rows import File, Piece, PieceReader, Reader, Step, planned, read_from_spark
from spark_jobs.spark_internals import Found
from spark_jobs.tables import address, spark_schema

Form = Literal["lines", "files", "parquet", "delta"]

_FORMS: dict[str, Form] = {
    ".json": "lines",
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".gz": "lines",
    ".txt": "files",
    ".md": "files",
    ".markdown": "files",
    **dict.fromkeys(ENDINGS, "files"),
    ".parquet": "parquet",
}
_MOST_LISTED = 10_000
"""If there are more files, the driver leaves the listing to Spark."""
_UNPACKED_BY_SPARK = frozenset({".gz", ".bz2", ".deflate", ".snappy", ".lz4", ".zst"})
"""The endings by which Hadoop recognizes compressed files."""
_MOST_ENDINGS = 8
_SMALL_PACKED = 4096
"""A compressed file above this size contains at least one line."""
_SPARK_ROW = pa.schema({"value": pa.binary(), "file": pa.string(), "block": pa.int64()})


class Raw(NamedTuple):
    """The input. `read` turns the batches of `data` into raw rows, on executors; ids of files begin below `base`.

    `ingested` is None unless the input is a raw table of ingestion; `data` then holds its new rows only.
    """

    data: DataFrame
    read: Reader
    form: Form
    base: str
    ingested: Ingested | None = None

    def through(self, step: Step, columns: StructType | str) -> DataFrame:
        """Apply a step to all raw rows, on executors."""
        return self.data.mapInArrow(partial(_through, read=self.read, step=step), columns)


def read_raw(
    spark: SparkSession,
    path: str,
    form: Form | None = None,
    id_field: str = "id",
    seen: Mapping[str, Seen] = MappingProxyType({}),
) -> Raw:
    """Find out which kind of input a path holds, and how to read it.

    Args:
        seen: by the address of a raw table of ingestion, the rows of it that were taken before. They are left out.

    Raises:
        NotFound: the path does not exist. InvalidData: it holds no file of a known kind, or files of several kinds.
    """
    if not spark_internals.exists(spark, path):
        raise NotFound(f"There is no input at {path}: check the path; `s3a://bucket/key` for the object store.")
    if form is None and spark_internals.exists(spark, f"{path}/_delta_log"):
        form = "delta"
    base, is_file, found = spark_internals.files_below(spark, path, _MOST_LISTED if form in (None, "lines") else 0)
    may_be_more = len(found) == _MOST_LISTED
    files = [each for each in found if is_file or not any(map(_is_hidden, each.name.split("/")))]
    form = form or _form(path, [each.name for each in files])
    if form == "lines":
        return _lines(spark, path, base, None if may_be_more else files)
    if form == "files":
        return Raw(_files(spark, path), read_from_spark, form, base)
    table = spark.read.format(form).load(path)
    if form == "delta" and is_ingested(table):
        at = address(path)
        new = rows_since(spark, at, seen.get(at, Seen()))
        return Raw(new.rows, read_from_spark, form, base, new)
    return Raw(_as_json(table, id_field), read_from_spark, form, base)


def _through(batches: Iterator[pa.RecordBatch], read: Reader, step: Step) -> Iterator[pa.RecordBatch]:
    return step(read(batches))


def _lines(spark: SparkSession, path: str, base: str, files: list[Found] | None) -> Raw:
    """The lines of all files. Spark's Python workers read them, unless Arrow does not reach the files, some are
    compressed, or there are too many to list (None); then Spark reads them."""
    where = folder(spark, base)
    if where.access == "hadoop" or files is None or any(_suffix(each.name) in _UNPACKED_BY_SPARK for each in files):
        text = spark.read.option("lineSep", "\n").option("recursiveFileLookup", "true").text(path)
        rows = _located(text.withColumn("value", f.col("value").cast("binary")))
        rows = rows.unionByName(_packed_without_lines(spark, path))
        return Raw(_with_rows_for(rows, _empty_files(spark, path)), read_from_spark, "lines", base)
    plan = _planned(spark, where.access == "s3", files)
    return Raw(spark.range(0, len(plan), 1, max(1, len(plan))), PieceReader(where, plan), "lines", base)


def _planned(spark: SparkSession, in_bucket: bool, found: list[Found]) -> list[list[Piece]]:
    files = []
    for each in found:
        parts = urlsplit(address := _in_short(each.address))
        path = parts.netloc + unquote(parts.path) if in_bucket else unquote(parts.path)
        files.append(File(address, path, each.size))
    settings = ("spark.sql.files.maxPartitionBytes", "spark.sql.files.openCostInBytes")
    most, opening = (size_of(name, str(spark.conf.get(name))) for name in settings)
    return planned(sorted(files), most, opening, spark.sparkContext.defaultParallelism)


def size_of(setting: str, value: str) -> int:
    """The bytes of a size as Spark's settings spell it: `32m`, `128kb`, `134217728`, `4194304b`.

    Raises:
        InvalidData: the value is no size.
    """
    found = re.fullmatch(r"(\d+)([kmgtp]?)b?", value.strip().lower())
    if found is None:
        raise InvalidData(f"{setting} is {value!r}, which is not a size. Write it like 32m or 134217728.")
    return int(found[1]) << 10 * " kmgtp".index(found[2] or " ")


def _files(spark: SparkSession, path: str) -> DataFrame:
    whole = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(path)
    block = f.lit(0).cast("long").alias("block")
    rows = whole.select(f.col("content").alias("value"), f.col("path").alias("file"), block)
    return _with_rows_for(rows, [unquote(file) for file in _empty_files(spark, path)])


def _as_json(table: DataFrame, id_field: str) -> DataFrame:
    """Typed rows as JSON. Turns a numeric id into text, because its type is the same in every row."""
    columns = [
        f.col(f"`{field.name}`").cast("string").alias(field.name)
        if field.name == id_field and field.dataType.typeName() in ("long", "integer", "short")
        else f.col(f"`{field.name}`")
        for field in table.schema.fields
    ]
    return _located(table.withColumn("value", f.to_json(f.struct(*columns)).cast("binary")))


def _located(table: DataFrame) -> DataFrame:
    return table.select(
        "value", f.col("_metadata.file_path").alias("file"), f.col("_metadata.file_block_start").alias("block")
    )


def _empty_files(spark: SparkSession, path: str) -> list[str]:
    """The files without any byte. Spark lists them, but its readers skip them."""
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(path)
    others = {_in_short(row[0]) for row in files.select("_metadata.file_path").collect()}
    return sorted({_in_short(file) for file in files.inputFiles()} - others)


def _in_short(address: str) -> str:
    """The shorter of Spark's two spellings of a local file: `file:/a` instead of `file:///a`."""
    return address.replace("file:///", "file:/", 1)


def _with_rows_for(rows: DataFrame, empty: list[str]) -> DataFrame:
    """The rows, and one row without bytes for each empty file."""
    if not empty:
        return rows
    of_files = rows.sparkSession.createDataFrame([(None, file, 0) for file in empty], spark_schema(_SPARK_ROW))
    return rows.unionByName(of_files)


def _packed_without_lines(spark: SparkSession, path: str) -> DataFrame:
    """A row without bytes for each compressed file without content."""
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(path)
    small = files.where(f"length <= {_SMALL_PACKED} AND path LIKE '%.gz'")
    block = f.lit(0).cast("long").alias("block")
    located = small.select(f.col("content").alias("value"), f.col("_metadata.file_path").alias("file"), block)
    return located.mapInArrow(_without_lines, spark_schema(_SPARK_ROW))


def _without_lines(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        empty = [not _unpacked(value.as_py()) for value in batch.column("value")]
        some = batch.filter(pa.array(empty, pa.bool_()))
        columns = [pa.nulls(some.num_rows, pa.binary()), some.column("file"), some.column("block")]
        yield pa.RecordBatch.from_arrays(columns, schema=_SPARK_ROW)


def _unpacked(content: bytes) -> bytes:
    """The content of a compressed file; its bytes if they are broken, because Spark's reader reports that."""
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return content


def _form(path: str, names: list[str]) -> Form:
    packed = next((name for name in names if _is_packed_text(name)), None)
    if packed:
        raise InvalidData(
            f"{packed} (in {path}) is compressed, and only JSON lines are read from gzip. Decompress it. If it "
            "does contain JSON lines, give `--form lines`."
        )
    found = {_FORMS.get(_suffix(name)) for name in names}
    known = {form for form in found if form}
    if len(known) == 1 and None not in found:
        return known.pop()
    if len(names) == 1 and not known:
        return "lines"
    endings = ", ".join(sorted({_suffix(name) or "no ending" for name in names})[:_MOST_ENDINGS])
    what = f"files of several kinds ({endings})" if known else f"no file of a known kind ({endings or 'no files'})"
    raise InvalidData(
        f"{path} holds {what}. Give `--form files` to read each file as one document: {', '.join(_of_form('files'))}; "
        "what is none of these and no UTF-8 text goes to quarantine. Or give `--form lines` if all files hold JSON "
        "lines, `--form parquet` or `--form delta`; or a folder that holds one kind."
    )


def _of_form(form: Form) -> list[str]:
    return [suffix for suffix, of in _FORMS.items() if of == form]


def _is_packed_text(name: str) -> bool:
    """Whether the name is like `page.md.gz`: compressed lines that are not JSON."""
    path = PurePosixPath(name.lower())
    return path.suffix == ".gz" and _FORMS.get(PurePosixPath(path.stem).suffix, "lines") != "lines"


def _is_hidden(name: str) -> bool:
    """Whether Spark skips files and folders with this name."""
    return name[:1] == "." or (name[:1] == "_" and "=" not in name) or name.endswith("._COPYING_")


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
