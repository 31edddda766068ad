"""Parquet files of a table, written and rewritten by Spark's Python workers. Arrow needs a fifth of the time of Spark's
own writer.

In: Arrow tables; or files of a table and the ids of documents that must leave them. Out: a `Written` for each file, for
the commit. A file becomes visible only when a commit names it, so a worker or the driver may die at any moment.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import Broadcast
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from spark_jobs.folders import Folder
from spark_jobs.rows import WRITTEN_FILE
from spark_jobs.tables import IDS, TEXTS, spark_schema

ROW_GROUP_BYTES = 8 << 20


class Written(NamedTuple):
    """A file of a table: its name in the folder, its bytes and rows, the smallest and the largest document id.

    `content` is set if the driver must write the file's bytes. The fields are the columns of `rows.WRITTEN_FILE`.
    """

    folder: str
    name: str
    size: int
    rows: int
    low: str
    high: str
    content: bytes | None


class TableFile:
    """One file in the making. `key` is the column of document ids."""

    def __init__(self, folder: Folder, name: str, key: str) -> None:
        self.folder, self.name, self.key = folder, name, key
        self.rows = 0
        self._low, self._high = "", ""
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._sink: Any = None
        self._writer: pq.ParquetWriter | None = None

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return int(self._sink.tell()) if self._sink else 0

    def write(self, rows: pa.Table) -> None:
        """Add rows. They reach the file one row group at a time."""
        self._waiting.append(rows)
        self._waiting_bytes += rows.nbytes
        if self._waiting_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> Written | None:
        """Finish the file. Returns None, and leaves no file, if no row was written."""
        self._flush()
        if self._writer is None:
            return None
        self._writer.close()
        size, in_memory = self.size, self.folder.access == "hadoop"
        content = self._sink.getvalue() if in_memory else None
        self._sink.close()
        return Written(self.folder.address, self.name, size, self.rows, self._low, self._high, content)

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting).unify_dictionaries()
        self._waiting, self._waiting_bytes = [], 0
        self._count(rows)
        if self._writer is None:
            self._sink = io.BytesIO() if self.folder.access == "hadoop" else self.folder.open(self.name)
            self._writer = _writer(self._sink, rows.schema)
        self._writer.write_table(rows, row_group_size=max(1, rows.num_rows))

    def _count(self, rows: pa.Table) -> None:
        ids = pa.concat_arrays([_plain(chunk) for chunk in rows.column(self.key).chunks])
        ends = pc.min_max(ids).as_py()
        self._low = min(self._low, ends["min"]) if self.rows else ends["min"]
        self._high = max(self._high, ends["max"])
        self.rows += rows.num_rows


def _plain(ids: pa.Array) -> pa.Array:
    return ids.dictionary if isinstance(ids, pa.DictionaryArray) else ids


def _writer(sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer with dictionaries for repeated values and statistics for ids alone: nobody searches a text by its first
    letters."""
    unique = TEXTS | {"chunk_id", "document_id"}
    texts = [each.name for each in schema if pa.types.is_string(each.type) or pa.types.is_dictionary(each.type)]
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        use_dictionary=[name for name in texts if name not in unique],
        write_statistics=[name for name in schema.names if name in IDS],
        store_schema=False,
    )


@dataclass(frozen=True)
class Rewrite:
    """Which documents leave which files: `ids` by the name of the file. `key` is the column of document ids."""

    folder: Folder
    key: str
    columns: pa.Schema
    run: str
    ids: Mapping[str, pa.Array]


def files_holding(table: DataFrame, key: str, ids: DataFrame, folder: str) -> dict[str, int]:
    """The files of a table that contain any of these documents, with their bytes."""
    file = f.col("_metadata.file_path").alias("file"), f.col("_metadata.file_size").alias("size")
    held = table.select(f.col(key).alias("document_id"), *file)
    found = held.join(ids, "document_id", "left_semi").select("file", "size").distinct()
    return {_name_below(folder, unquote(str(path))): int(size) for path, size in sorted(found.collect())}


def rewritten(spark: SparkSession, what: Rewrite) -> DataFrame:
    """Rewrite files without some documents. Returns rows of `WRITTEN_FILE`, one for each new file.

    A file of which no row is left has no successor. The table stays as it is until a commit replaces the old files.
    """
    paths = [f"{what.folder.address}/{name}" for name in what.ids]
    files = spark.read.format("binaryFile").load(paths).select("path", "content")
    shared = spark.sparkContext.broadcast(what)
    return files.mapInArrow(partial(_rewrite, shared=shared), spark_schema(WRITTEN_FILE))


def _name_below(folder: str, path: str) -> str:
    """The name of a file in its table's folder. Spark may spell the folder's address in another way."""
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
    rows = rows.filter(pc.invert(pc.is_in(rows.column(what.key), value_set=what.ids[name])))
    types = {each.name: each.type for each in what.columns}
    schema = pa.schema([(each.name, types.get(each.name, each.type)) for each in rows.schema])
    stem = name.rsplit("/", 1)[-1].split(".")[0]
    file = TableFile(what.folder, f"{stem}-without-{what.run[:8]}.zstd.parquet", what.key)
    if rows.num_rows:
        file.write(rows.cast(schema))
    return file.close()
