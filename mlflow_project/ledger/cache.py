"""A cache of ledger records on disk: one line per record, exactly the bytes of the object.

Nothing depends on the cache: it is checked as a chain when it is read, and `Ledger` compares its newest record with the
store. A cache that cannot be read or written is ignored.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from mlflow_project.errors import InvalidData
from mlflow_project.ledger.chain import UNREADABLE, Link, read_link
from mlflow_project.private_files import make_private_folder, open_private

logger = logging.getLogger(__name__)


class Cache:
    """The cache of one ledger. Its file is named by the ledger's address."""

    def __init__(self, folder: Path, ledger: str) -> None:
        self._path = folder / f"{hashlib.sha256(ledger.encode()).hexdigest()[:16]}.jsonl"
        self._length = 0

    def read(self) -> list[Link]:
        """The longest chain from the first record on. Lines that do not belong to it are removed from the file."""
        links: list[Link] = []
        try:
            lines = self._path.read_bytes().splitlines(keepends=True)
        except OSError:
            return []
        seen = set()
        for line in lines:
            if line in seen:
                continue  # another process kept it too
            seen.add(line)
            try:
                links.append(read_link(line.rstrip(b"\n"), links[-1] if links else None))
            except InvalidData:
                self._rewrite(list(dict.fromkeys(lines))[: len(links)])
                break
        self._length = len(links)
        return links

    def add(self, fresh: Sequence[tuple[Link, bytes]]) -> None:
        """Add records that follow the cached ones, or replace the cache by records that begin with number 1.

        A stand-in for an object that is not a record, and every record after it, is not cached.
        """
        fresh = list(takewhile(lambda each: each[0].record.type != UNREADABLE, fresh))
        lines = [data + b"\n" for _, data in fresh]
        if not fresh:
            return
        if fresh[0][0].record.serial == 1:
            self._rewrite(lines)
        elif fresh[0][0].record.serial == self._length + 1:
            self._append(lines)
        self._length = fresh[-1][0].record.serial

    def _append(self, lines: Sequence[bytes]) -> None:
        try:
            with open_private(self._path, "ab") as file:
                file.write(b"".join(lines))
        except OSError as error:
            logger.debug("ledger cache not written", extra={"path": str(self._path), "error": str(error)})

    def _rewrite(self, lines: Sequence[bytes]) -> None:
        own = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            make_private_folder(self._path.parent)
            with open_private(own, "wb") as file:
                file.write(b"".join(lines))
            own.replace(self._path)
        except OSError as error:
            logger.debug("ledger cache not written", extra={"path": str(self._path), "error": str(error)})
