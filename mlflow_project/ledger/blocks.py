"""Objects of a thousand records each, so that a machine without a cache reads a long ledger within a second.

All machines share this cache: records 1 to 1,000, 1,001 to 2,000, …, one per line, in the artifacts bucket.
The first machine that has read a whole block writes it. Nothing depends on blocks: a reader checks their records as a
chain from the first one on, and the newest one against the ledger itself. `ledger verify` does not read them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import InvalidData, NotFound, WorkspaceError
from mlflow_project.ledger.chain import Link, read_link
from mlflow_project.rules.canonical import canonical, digest

SIZE = 1_000
_READERS = 8

logger = logging.getLogger(__name__)


class Blocks:
    """The blocks of one ledger, each of `size` records."""

    def __init__(self, store: ObjectStore, size: int) -> None:
        self._store, self._size = store, size
        self._bucket = store.settings.artifacts_bucket
        self._prefix = f"ledger/{store.settings.ledger_bucket}/{size}/"

    def read(self, kept: Sequence[Link]) -> list[tuple[Link, bytes]]:
        """The records in blocks that come after the `kept` ones, as far as they form a chain.

        Raises:
            Unavailable: the store does not answer.
        """
        whole = len(kept) // self._size
        try:
            keys = [item.key for item in self._store.list(self._bucket, self._prefix, self._key(whole))]
            with ThreadPoolExecutor(_READERS) as pool:
                blocks = list(pool.map(lambda key: self._store.get(self._bucket, key), keys))
        except (NotFound, InvalidData):
            return []  # no such bucket, or not for this user
        lines = [line for block in blocks for line in block.splitlines()]
        return list(_followed(lines[len(kept) - whole * self._size :], kept[-1] if kept else None))

    def write(self, links: Sequence[Link], fresh: int) -> None:
        """Write the blocks that the newest `fresh` records have completed. Errors are logged and ignored."""
        for number in range((len(links) - fresh) // self._size, len(links) // self._size):
            lines = [_line(link) for link in links[number * self._size : (number + 1) * self._size]]
            if b"" in lines:
                continue  # something that is no record lies among them: these are read one by one
            try:
                self._store.put(self._bucket, self._key(number + 1), b"".join(lines), "application/jsonl")
            except WorkspaceError as error:
                logger.debug("ledger block not written", extra={"block": number + 1, "error": str(error)})

    def _key(self, number: int) -> str:
        """The key of block `number`, counted from 1. Keys sort in the order of the blocks."""
        return f"{self._prefix}{number:08d}.jsonl"


def _followed(lines: Sequence[bytes], before: Link | None) -> Iterator[tuple[Link, bytes]]:
    for line in lines:
        try:
            before = read_link(line, before)
        except InvalidData:
            return
        yield before, line


def _line(link: Link) -> bytes:
    """A record as one line; empty if its bytes in the ledger differ from its canonical form."""
    data = canonical(link.record.to_dict())
    return data + b"\n" if digest(data) == link.digest else b""
