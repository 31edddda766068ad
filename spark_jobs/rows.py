"""Raw rows as executors see them, wherever they come from: some at a time, each with its place.

In: Spark's Arrow batches of `value`, `file`, `block`. Out: lists of `Row`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

Place = tuple[str, int, int]
"""File, the offset at which it was cut, and the number of the line from there on."""
Row = tuple[Place, bytes]
Reader = Callable[[Iterator[pa.RecordBatch]], Iterator[list[Row]]]
Step = Callable[[Iterator[list[Row]]], Iterator[pa.RecordBatch]]


def counted(batches: Iterator[pa.RecordBatch]) -> Iterator[list[Row]]:
    """Rows that Spark read; those of a block arrive in order."""
    at, line = None, -1
    for batch in batches:
        rows = []
        files, blocks = (batch.column(name).to_pylist() for name in ("file", "block"))
        for value, file, block in zip(batch.column("value"), files, blocks, strict=True):
            line = line + 1 if (file, block) == at else 0
            at = file, block
            rows.append(((file, block, line), value.as_py() or b""))
        yield rows
