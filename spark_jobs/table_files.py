"""Parquet files of a table, written by Spark's Python workers: Arrow needs a fifth of the time of Spark's own writer.

In: Arrow tables. Out: `Written`, what a commit must know of a file. A file counts for nothing until a commit names it,
so that a worker or a driver may die at any moment.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spark_jobs.folders import Folder

ROW_GROUP_BYTES = 8 << 20
_REPEATING = ("source_document_id", "title", "heading_path", "language", "document_hash", "splitter", "metadata")
_IDS = ("chunk_id", "source_document_id", "document_id")


class Written(NamedTuple):
    """A file: its name in the folder, size in bytes, rows, the smallest and the largest document id; the file in whose
    place it comes, if any. `content` where the driver must put the file there."""

    folder: str
    name: str
    size: int
    rows: int
    low: str
    high: str
    replaces: str | None
    content: bytes | None


WRITTEN = pa.schema(
    [
        ("folder", pa.string()),
        ("name", pa.string()),
        ("size", pa.int64()),
        ("rows", pa.int64()),
        ("low", pa.string()),
        ("high", pa.string()),
        ("replaces", pa.string()),
        ("content", pa.binary()),
    ]
)


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
        """Add rows; they reach the file a row group at a time."""
        self._waiting.append(rows)
        self._waiting_bytes += rows.nbytes
        if self._waiting_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self, replaces: str | None = None) -> Written | None:
        """Finish the file; None where no row came."""
        self._flush()
        if self._writer is None:
            return None
        self._writer.close()
        size, in_memory = self.size, self.folder.way == "driver"
        content = self._sink.getvalue() if in_memory else None
        self._sink.close()
        return Written(self.folder.address, self.name, size, self.rows, self._low, self._high, replaces, content)

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting).unify_dictionaries()
        self._waiting, self._waiting_bytes = [], 0
        self._count(rows)
        if self._writer is None:
            self._sink = io.BytesIO() if self.folder.way == "driver" else self.folder.open(self.name)
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
    """Texts get no dictionary and no statistics: none comes twice, and nobody looks for one by its first letters."""
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        use_dictionary=[name for name in schema.names if name in _REPEATING],
        write_statistics=[name for name in schema.names if name in _IDS],
        store_schema=False,
    )
