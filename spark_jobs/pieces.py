"""Files of lines, cut into pieces that Spark's Python workers read themselves. Spark's reader would carry each line
from Java to Python, which takes longer than to parse and hash it.

In: plain files, as Hadoop lists them, on a file system that Arrow reaches. Out: a plan for the tasks, and on executors
their lines. A piece holds the lines that begin in it, so each line is read once, wherever the cuts fall.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from spark_jobs.folders import Folder
from spark_jobs.rows import Row

_BLOCK = 4 << 20
_LOOK = 64 << 10
_MOST_ROWS = 1024


class File(NamedTuple):
    """A file: its address as tables name it, the path by which Arrow opens it, and its size in bytes."""

    address: str
    path: str
    size: int


class Piece(NamedTuple):
    """The bytes of a file from `start` to before `end`. An empty file is one empty piece."""

    file: File
    start: int
    end: int


def planned(files: Sequence[File], most: int, opening: int, cores: int) -> list[list[Piece]]:
    """Plan what each task reads, large tasks first, by Spark's own rule.

    A task reads at most `most` bytes, of neighbouring files together; opening a file counts like `opening` bytes.
    Pieces are smaller where otherwise some cores would have nothing to do.
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
    """Reads the pieces of a task on an executor. The batches that Spark sends hold numbers of tasks."""

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


def _line_start(file: Any, place: int) -> int:
    """The first position from `place` on at which a line begins; the end of the file where none does."""
    at = place - 1
    while at >= 0 and (block := file.read_at(_LOOK, at)):
        newline = block.find(b"\n")
        if newline >= 0:
            return int(at + newline + 1)
        at += len(block)
    return int(at) if place else 0
