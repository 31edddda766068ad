"""Raw rows: their columns, and how Spark's Python workers get them.

A raw row is its source location and its bytes. Workers read plain lines themselves, in pieces that the driver planned:
Spark's reader would carry each line from Java to Python, which takes longer than to parse and hash it. A piece contains
the lines that begin in it, so each line is read once, wherever the cuts fall. Everything else arrives from Spark.

`ROW_SUMMARY` is what the driver needs to know of each raw row; `WRITTEN_FILE` is what a commit needs to know of each
file that a worker wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from spark_jobs.folders import Folder

SourceLocation = tuple[str, int, int]
"""The file, the byte offset of the block that was read as a whole, and the number of the line in it, from 0."""
LOCATION = ("file", "block", "line")
Row = tuple[SourceLocation, bytes | None]
"""A raw row. None instead of bytes stands for a file without any row."""
Reader = Callable[[Iterator[pa.RecordBatch]], Iterator[list[Row]]]
Step = Callable[[Iterator[list[Row]]], Iterator[pa.RecordBatch]]

_WHERE = {"file": pa.string(), "block": pa.int64(), "line": pa.int64()}
RAW_ROW = pa.schema({**_WHERE, "raw": pa.binary()})
ROW_SUMMARY = pa.schema(
    {
        **_WHERE,
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

_BLOCK = 4 << 20
_LOOK = 64 << 10
_MOST_ROWS = 1024


class File(NamedTuple):
    """A plain file: its address as tables name it, the path by which Arrow opens it, and its size in bytes."""

    address: str
    path: str
    size: int


class Piece(NamedTuple):
    """The bytes of a file from `start` to before `end`. An empty file is one empty piece."""

    file: File
    start: int
    end: int


def planned(files: Sequence[File], most: int, opening: int, cores: int) -> list[list[Piece]]:
    """Plan what each task reads, by Spark's own rule. Returns the largest tasks first.

    A task reads at most `most` bytes, of neighbouring files together; opening a file counts like `opening` bytes.
    Pieces are smaller if otherwise some cores would have nothing to do.
    """
    whole = sum(file.size + opening for file in files)
    most = max(1, min(most, max(opening, whole // max(1, cores))))
    tasks: list[list[Piece]] = []
    room = 0
    for file in files:
        for start in range(0, max(1, file.size), most):
            piece = Piece(file, start, min(start + most, file.size))
            size = piece.end - piece.start
            if size > room or not tasks:
                tasks.append([])
                room = most
            tasks[-1].append(piece)
            room -= size + opening
    return sorted(tasks, key=lambda task: sum(start - end for _, start, end in task))


@dataclass(frozen=True)
class PieceReader:
    """Reads the pieces of a task on an executor. The batches that Spark sends contain numbers of tasks."""

    folder: Folder
    plan: Sequence[Sequence[Piece]]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[list[Row]]:
        files = self.folder.files()
        for batch in batches:
            for number in batch.column(0).to_pylist():
                for piece in self.plan[number]:
                    yield from _rows(files, piece)


def _rows(files: Any, piece: Piece) -> Iterator[list[Row]]:
    address, start, line = piece.file.address, piece.start, 0
    if not piece.file.size:
        yield [((address, start, 0), None)]
        return
    try:
        with files.open_input_file(piece.file.path) as file:
            for values in lines(file, piece.start, piece.end):
                for begin in range(0, len(values), _MOST_ROWS):
                    some = values[begin : begin + _MOST_ROWS]
                    yield [((address, start, number), value) for number, value in enumerate(some, line)]
                    line += len(some)
    except OSError as error:
        raise OSError(f"{address} cannot be read: {error}") from error


def lines(file: Any, start: int, end: int) -> Iterator[list[bytes]]:
    """The lines that begin from `start` to before `end`, in batches, without their newlines.

    Raises:
        OSError: the file is shorter than it was when the plan was made.
    """
    at, stop = _line_start(file, start), _line_start(file, end)
    begun: list[bytes] = []
    while at < stop:
        block = file.read_at(min(_BLOCK, stop - at), at)
        if not block:
            raise OSError(f"it was {stop:,} bytes long and ends at {at:,}: it was changed meanwhile")
        at += len(block)
        first, *others = block.split(b"\n")
        begun.append(first)
        if others:
            whole, begun = [b"".join(begun), *others[:-1]], [others[-1]]
            yield whole
    if last := b"".join(begun):
        yield [last]


def _line_start(file: Any, position: int) -> int:
    """The first position from `position` on at which a line begins; the end of the file if none does."""
    at = position - 1
    while at >= 0 and (block := file.read_at(_LOOK, at)):
        newline = block.find(b"\n")
        if newline >= 0:
            return int(at + newline + 1)
        at += len(block)
    return int(at) if position else 0


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


def batch_of(rows: Sequence[tuple[Any, ...]], columns: pa.Schema) -> pa.RecordBatch:
    """Rows of values, in the order of the columns, as Arrow hands them to Spark."""
    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    arrays = [pa.array(each, column.type) for each, column in zip(values, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=columns)


def raw_rows(rows: Iterator[list[Row]]) -> Iterator[pa.RecordBatch]:
    """The raw rows as `RAW_ROW`, to fetch the bytes of rows that are rejected after the pass."""
    for some in rows:
        yield batch_of([(*location, value) for location, value in some], RAW_ROW)
