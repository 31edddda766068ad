"""Parquet files of a table, written by Spark's Python workers: Arrow needs a fifth of the time of Spark's own writer.

In: Arrow tables. Out: `Written`, what a commit must know of a file. Readers see a file only after a commit named it, so
a worker or the driver may die at any moment.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spark_jobs.folders import Folder
from spark_jobs.tables import IDS, TEXTS

ROW_GROUP_BYTES = 8 << 20


class Written(NamedTuple):
    """A file of a table: its name in the folder, its bytes and rows, the smallest and the largest document id.

    `content` holds the file's bytes where the driver must write it. The fields are the columns of `rows.WRITTEN_FILE`.
    """

    folder: str
    name: str
    size: int
    rows: int
    low: str
    high: str
    content: bytes | None


class TableFile:
    """One file that is being written. `key` is the column of document ids."""

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
        """Add rows; they reach the file one row group at a time."""
        self._waiting.append(rows)
        self._waiting_bytes += rows.nbytes
        if self._waiting_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> Written | None:
        """Finish the file. Returns None, and leaves no file, where no row was written."""
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
    """Dictionaries for what repeats, statistics for ids alone: nobody searches a text by its first letters."""
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
