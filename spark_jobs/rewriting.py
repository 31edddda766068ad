"""Rewrites files of a table without some documents. Runs on executors.

In: the files, and the ids to leave out. Out: rows of `WRITTEN_FILE`, the new files; a file of which no row is left has
no successor. The table does not change until a commit puts the new files in the place of the old ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import Broadcast
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from spark_jobs.folders import Folder
from spark_jobs.rows import WRITTEN_FILE
from spark_jobs.table_files import TableFile, Written
from spark_jobs.tables import spark_schema


@dataclass(frozen=True)
class Rewrite:
    """Which documents leave which files: `ids` by the name of the file. `key` is the column of document ids."""

    folder: Folder
    key: str
    columns: pa.Schema
    run: str
    ids: Mapping[str, pa.Array]


def files_holding(table: DataFrame, key: str, ids: DataFrame, folder: str) -> dict[str, int]:
    """The files of a table that hold any of these documents, with their bytes."""
    file = f.col("_metadata.file_path").alias("file"), f.col("_metadata.file_size").alias("size")
    held = table.select(f.col(key).alias("document_id"), *file)
    found = held.join(ids, "document_id", "left_semi").select("file", "size").distinct()
    return {_name_below(folder, unquote(str(path))): int(size) for path, size in sorted(found.collect())}


def rewritten(spark: SparkSession, what: Rewrite) -> DataFrame:
    """Rewrite the files; rows of `WRITTEN_FILE`."""
    paths = [f"{what.folder.address}/{name}" for name in what.ids]
    files = spark.read.format("binaryFile").load(paths).select("path", "content")
    shared = spark.sparkContext.broadcast(what)
    return files.mapInArrow(partial(_rewrite, shared=shared), spark_schema(WRITTEN_FILE))


def _name_below(folder: str, path: str) -> str:
    """The name of a file in its table's folder; Spark may spell the folder's address in another way than we do."""
    return path.rsplit(f"/{folder.rsplit('/', 1)[-1]}/", 1)[-1]


def _rewrite(batches: Iterator[pa.RecordBatch], shared: Broadcast[Rewrite]) -> Iterator[pa.RecordBatch]:
    what = shared.value
    for batch in batches:
        for path, content in zip(batch["path"].to_pylist(), batch["content"], strict=True):
            written = _without(_name_below(what.folder.address, path), content.as_buffer(), what)
            if written:
                yield pa.RecordBatch.from_pylist([written._asdict()], schema=WRITTEN_FILE)


def _without(name: str, content: pa.Buffer, what: Rewrite) -> Written | None:
    rows = pq.read_table(pa.BufferReader(content), coerce_int96_timestamp_unit="us")
    gone = pc.is_in(rows.column(what.key), value_set=what.ids[name])
    rows = rows.filter(pc.invert(gone))
    types = {each.name: each.type for each in what.columns}
    schema = pa.schema([(each.name, types.get(each.name, each.type)) for each in rows.schema])
    stem = name.rsplit("/", 1)[-1].split(".")[0]
    file = TableFile(what.folder, f"{stem}-without-{what.run[:8]}.zstd.parquet", what.key)
    if rows.num_rows:
        file.write(rows.cast(schema))
    return file.close()
