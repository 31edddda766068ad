"""The texts of an index: one JSON line a chunk, and the byte offset of each line, both memory-mapped.

In: chunk rows at build time. Out: the row of an ordinal number, in microseconds and without a table library.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

LINES = "chunks.jsonl"
OFFSETS = "offsets.npy"


class ChunkWriter:
    """Writes rows one by one; the offsets follow at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines = (folder / LINES).open("wb")
        self._offsets = [0]

    def __enter__(self) -> ChunkWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()
        np.save(self._folder / OFFSETS, np.array(self._offsets, dtype=np.uint64))

    @property
    def count(self) -> int:
        return len(self._offsets) - 1

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row."""
        self._offsets.append(self._offsets[-1] + self._lines.write(orjson.dumps(dict(row)) + b"\n"))


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
