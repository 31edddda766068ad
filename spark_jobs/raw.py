"""Raw input of any kind as one DataFrame of rows: `value` (bytes), `file`, `block`, where `block` is the offset at
which Spark cut the file. Nothing is parsed here, so nothing can be lost here.

Inputs: JSON lines (plain or gzip; conversations too), folders of .txt, .md and .html, Parquet, a Delta table; local,
s3a or any Hadoop path.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple, cast

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from mlflow_project.errors import InvalidData, NotFound

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
    """The rows, in which form they were found, and the folder that file names are told from."""

    rows: DataFrame
    form: Form
    base: str


def read_raw(spark: SparkSession, path: str, form: Form | None = None, id_field: str = "id") -> Raw:
    """Find out what lies at a path, and read it.

    Raises:
        NotFound: nothing is there. InvalidData: it holds nothing that is known, or several kinds of things.
    """
    place = _hadoop_path(spark, path)
    files = place.getFileSystem(spark._jsc.hadoopConfiguration())
    if not files.exists(place):
        raise NotFound(f"There is no input at {path}: check the path; `s3a://bucket/key` for the object store.")
    if form is None:
        form = "delta" if files.exists(_hadoop_path(spark, f"{path}/_delta_log")) else _form(path, _names(files, place))
    base = files.getFileStatus(place)
    qualified = base.getPath() if base.isDirectory() else base.getPath().getParent()
    rows = _as_json(spark.read.format(form).load(path), id_field) if form in _TYPED else _READERS[form](spark, path)
    return Raw(rows, form, str(qualified))


def _lines(spark: SparkSession, path: str) -> DataFrame:
    lines = spark.read.option("lineSep", "\n").option("recursiveFileLookup", "true").text(path)
    return _placed(lines.withColumn("value", f.col("value").cast("binary")))


def _files(spark: SparkSession, path: str) -> DataFrame:
    whole = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(path)
    return whole.select(
        f.col("content").alias("value"), f.col("path").alias("file"), f.lit(0).cast("long").alias("block")
    )


_READERS = {"lines": _lines, "files": _files}
_TYPED = ("parquet", "delta")


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


def _names(files: Any, place: Any) -> list[str]:
    if not files.getFileStatus(place).isDirectory():
        return [place.getName()]
    names: list[str] = []
    listed = files.listFiles(place, True)
    while listed.hasNext() and len(names) < _ENOUGH:
        name = listed.next().getPath().getName()
        if name[0] not in "._":
            names.append(cast(str, name))
    return names


def _hadoop_path(spark: SparkSession, path: str) -> Any:
    return spark._jvm.org.apache.hadoop.fs.Path(path)
