"""Read the ledger, and append to it. One object a record; the next free serial is the lock of every flip.

In: drafts. Out: records, each holding the digest of the one before. Records are immutable, so what was read once is
kept in memory and, where a cache folder is given, on disk, and whole thousands are shared as blocks; each look asks
the store only for what is newer. Every record is read in its oldest version, whatever was written or deleted over it
since: object lock keeps that.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.record import GENESIS, LedgerRecord
from mlflow_project.errors import InvalidData, NotFound, PromotionConflict, Unavailable
from mlflow_project.ledger.blocks import SIZE, Blocks
from mlflow_project.ledger.cache import Cache
from mlflow_project.ledger.chain import PREFIX, Draft, Link, key_of, link_over, placed, serial_of
from mlflow_project.ledger.state import State, replay
from mlflow_project.rules.canonical import digest
from mlflow_project.rules.masking import Masker

_READERS = 16
_PATIENCE_SECONDS = 60.0
_BEYOND = "the ledger cannot be read on; `switchyard ledger verify` tells all that is wrong."

__all__ = ["Draft", "Ledger"]


class Ledger:
    """All calls may raise `Unavailable`, and `InvalidData` when the chain is broken beyond what can be read around."""

    def __init__(
        self, store: ObjectStore, cache: Path | None = None, block: int = SIZE, masker: Masker | None = None
    ) -> None:
        """`masker` has a site's own patterns besides the built-in ones; None: the built-in ones alone."""
        self._store, self._blocks = store, Blocks(store, block)
        self._bucket = store.settings.ledger_bucket
        self._cache = Cache(cache, f"{store.settings.s3_endpoint}/{self._bucket}") if cache is not None else None
        self._links: list[Link] = []
        self._state: State | None = None
        self._masker = masker or Masker()
        self._loaded = False

    def head(self) -> tuple[int, str]:
        """Serial and digest of the newest record; 0 and zeros for an empty ledger."""
        self._catch_up()
        return (self._links[-1].record.serial, self._links[-1].digest) if self._links else (0, GENESIS)

    def records(self, start: int = 1) -> list[LedgerRecord]:
        """All records from a serial on."""
        self._catch_up()
        return [link.record for link in self._links[start - 1 :]]

    def state(self) -> State:
        """What all records say. Not to be changed by callers: it is kept until a newer record appears."""
        serial, head = self.head()
        if self._state is None or self._state.serial != serial:
            self._state = replay(link.record for link in self._links)
            self._state.head = head
        return self._state

    def has_news(self) -> bool:
        """Whether a record follows the newest one that this object has read. One small request, for who asks several
        times a second; it does not see a record that was deleted since, as `state` does."""
        return self._store.exists(self._bucket, key_of(len(self._links) + 1))

    def append(self, draft: Draft) -> LedgerRecord:
        """Append at the next free serial, however often somebody else takes it first."""
        deadline, tried = time.monotonic() + _PATIENCE_SECONDS, 0
        while time.monotonic() < deadline:
            serial, _ = self.head()
            try:
                return self.append_at(serial + 1, draft)
            except PromotionConflict:
                tried += 1
                time.sleep(random.uniform(0, 0.01 * 2 ** min(tried, 6)))
        raise Unavailable(f"No place in the ledger was won within {_PATIENCE_SECONDS:.0f} s: too many writers at once.")

    def append_at(self, serial: int, draft: Draft) -> LedgerRecord:
        """Append as exactly this serial: compare-and-append. The reason, which a person typed, is masked first: nothing
        can be taken out of a ledger again.

        Raises:
            PromotionConflict: somebody else has written that serial.
        """
        if len(self._links) < serial - 1:
            self._catch_up()
        if len(self._links) != serial - 1:
            raise PromotionConflict(
                f"The ledger has moved: record {serial} is not the next, {len(self._links) + 1} is."
            )
        draft = replace(draft, why=self._masker.mask(draft.why).text)
        link, data = placed(draft, self._links[-1] if self._links else None)
        if not self._written(serial, data, link.record.nonce):
            raise PromotionConflict(f"Somebody else has written record {serial} of the ledger first.")
        self._keep([(link, data)])
        return link.record

    def _written(self, serial: int, data: bytes, nonce: str) -> bool:
        """Put the record; a lost answer is settled by reading back, since a repeated PUT is refused by its own
        success.
        """
        try:
            if self._store.put_new(self._bucket, key_of(serial), data, "application/json"):
                return True
        except Unavailable:
            if self._holds(serial, nonce):
                return True
            raise
        return self._holds(serial, nonce)

    def _holds(self, serial: int, nonce: str) -> bool:
        try:
            return nonce.encode() in self._read(serial)
        except InvalidData:
            return False  # nothing is there

    def _catch_up(self) -> None:
        self._load()
        oldest = self._oldest_versions(key_of(len(self._links)))
        if not oldest:
            return
        wanted = range(len(self._links) + 1, max(oldest) + 1)
        for serial in wanted:
            if serial not in oldest:  # written while the list was made; or gone
                oldest[serial] = self._oldest_version(serial)
        with ThreadPoolExecutor(min(_READERS, len(wanted))) as pool:
            found = pool.map(lambda serial: self._read(serial, oldest[serial]), wanted)
            self._keep(_chained(found, self._links[-1] if self._links else None))

    def _oldest_versions(self, after: str) -> dict[int, str | None]:
        """Serial and oldest version of every record after a key; a key's oldest version is listed last."""
        listed = self._store.versions(self._bucket, PREFIX, after)
        return {
            serial: item.version_id
            for item in listed
            if not item.deleted and (serial := serial_of(item.key)) is not None
        }

    def _load(self) -> None:
        """Once: take what the disk has kept, and what blocks hold beyond it, if the newest record of each is still
        what the store holds.
        """
        if self._loaded:
            return
        kept = self._cache.read() if self._cache is not None else []
        self._links = kept if kept and self._still_there(kept[-1]) else []
        shared = self._blocks.read(self._links)
        if shared and self._still_there(shared[-1][0]):
            self._remember(shared)
        self._loaded = True

    def _still_there(self, link: Link) -> bool:
        try:
            return digest(self._read(link.record.serial)) == link.digest
        except (NotFound, InvalidData):
            return False

    def _keep(self, fresh: list[tuple[Link, bytes]]) -> None:
        self._remember(fresh)
        self._blocks.write(self._links, len(fresh))

    def _remember(self, fresh: list[tuple[Link, bytes]]) -> None:
        self._links += [link for link, _ in fresh]
        if self._cache is not None:
            self._cache.add(fresh)

    def _read(self, serial: int, version_id: str | None = None) -> bytes:
        """A record's oldest version, which is looked up unless it is given."""
        return self._store.get(self._bucket, key_of(serial), version_id or self._oldest_version(serial))

    def _oldest_version(self, serial: int) -> str | None:
        listed = self._store.versions(self._bucket, key_of(serial))
        versions = [item.version_id for item in listed if not item.deleted]
        if not versions:
            raise InvalidData(f"Ledger record {serial} is missing: {_BEYOND}")
        return versions[-1]


def _chained(found: Iterable[bytes], before: Link | None) -> list[tuple[Link, bytes]]:
    fresh: list[tuple[Link, bytes]] = []
    try:
        for data in found:
            before = link_over(data, before)
            fresh.append((before, data))
    except InvalidData as error:
        raise InvalidData(f"{error} So {_BEYOND}") from error
    return fresh
