"""The rows that travel between executors and the driver, and how executors see raw rows.

A raw row is its source location and its bytes. `ROW_SUMMARY` is what the driver needs to know of each raw row;
`WRITTEN_FILE` is what a commit must know of each file that an executor wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

SourceLocation = tuple[str, int, int]
"""The file, the byte offset of the block that was read as a whole, and the number of the line in it, from 0."""
LOCATION = ("file", "block", "line")
Row = tuple[SourceLocation, bytes | None]
"""A raw row. None instead of bytes stands for a file that holds no row at all."""
Reader = Callable[[Iterator[pa.RecordBatch]], Iterator[list[Row]]]
Step = Callable[[Iterator[list[Row]]], Iterator[pa.RecordBatch]]

RAW_ROW = pa.schema({"file": pa.string(), "block": pa.int64(), "line": pa.int64(), "raw": pa.binary()})
ROW_SUMMARY = pa.schema(
    {
        "file": pa.string(),
        "block": pa.int64(),
        "line": pa.int64(),
        "reason": pa.string(),
        "sentence": pa.string(),
        "raw": pa.binary(),
        "document_id": pa.string(),
        "document_hash": pa.string(),
        "text_hash": pa.string(),
        "signature": pa.list_(pa.int32()),
        "fresh": pa.bool_(),
    }
)
"""`raw` holds the bytes of a rejected row only. `fresh` says that the document is not in the tables yet."""
WRITTEN_FILE = pa.schema(
    {
        "folder": pa.string(),
        "name": pa.string(),
        "size": pa.int64(),
        "rows": pa.int64(),
        "low": pa.string(),
        "high": pa.string(),
        "content": pa.binary(),
    }
)


def read_from_spark(batches: Iterator[pa.RecordBatch]) -> Iterator[list[Row]]:
    """Turn Spark's `value, file, block` into raw rows. The rows of a block must arrive in order."""
    block_of_last_row, line = None, -1
    for batch in batches:
        rows: list[Row] = []
        files, blocks = (batch.column(name).to_pylist() for name in ("file", "block"))
        for value, file, block in zip(batch.column("value"), files, blocks, strict=True):
            line = line + 1 if (file, block) == block_of_last_row else 0
            block_of_last_row = file, block
            rows.append(((file, block, line), value.as_py()))
        yield rows


def raw_rows(rows: Iterator[list[Row]]) -> Iterator[pa.RecordBatch]:
    """The raw rows as `RAW_ROW`, to fetch the bytes of rows that are rejected after the pass."""
    for some in rows:
        locations, values = zip(*some, strict=True)
        columns = [*zip(*locations, strict=True), values]
        arrays = [pa.array(column, each.type) for column, each in zip(columns, RAW_ROW, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=RAW_ROW)
