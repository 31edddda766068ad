"""The texts of an index: one JSON line a chunk, and the byte offset of each line, both memory-mapped.

In: chunk rows at build time. Out: the row of an ordinal number, in microseconds and without a table library.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

LINES = "chunks.jsonl"
OFFSETS = "offsets.npy"


def write(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Write the rows while they pass through; the offsets follow when the last row has passed."""
    offsets = [0]
    with (folder / LINES).open("wb") as lines:
        for row in rows:
            offsets.append(offsets[-1] + lines.write(orjson.dumps(dict(row)) + b"\n"))
            yield row
    np.save(folder / OFFSETS, np.array(offsets, dtype=np.uint64))


class ChunkFile:
    """Rows by ordinal number."""

    def __init__(self, folder: Path) -> None:
        self._offsets = np.load(folder / OFFSETS, mmap_mode="r")
        self._bytes: bytes | mmap.mmap = b""
        if len(self):
            with (folder / LINES).open("rb") as lines:
                self._bytes = mmap.mmap(lines.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, ordinal: int) -> dict[str, Any]:
        start, end = int(self._offsets[ordinal]), int(self._offsets[ordinal + 1])
        row: dict[str, Any] = orjson.loads(self._bytes[start:end])
        return row
