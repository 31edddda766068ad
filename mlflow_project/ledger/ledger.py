"""Read the ledger, and append to it. One object a record; the next free serial is the lock of every flip.

In: drafts. Out: records, each holding the digest of the one before. Records are immutable, so what was read once is
kept in memory and, where a cache folder is given, on disk, and whole thousands are shared as blocks; each look asks
the store only for what is newer. `versions` chooses the bytes of a record that has more than one version; `anchor`
keeps the newest record that this host has seen, which every later chain must contain.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.record import GENESIS, LedgerRecord
from mlflow_project.domain.times import utc_now
from mlflow_project.errors import InvalidData, LedgerRewritten, NotFound, PromotionConflict, Unavailable
from mlflow_project.ledger.anchor import Anchor, Head
from mlflow_project.ledger.blocks import SIZE, Blocks
from mlflow_project.ledger.cache import Cache
from mlflow_project.ledger.chain import UNREADABLE, Draft, Link, key_of, link_over, placed
from mlflow_project.ledger.replaying import replay
from mlflow_project.ledger.state import State
from mlflow_project.ledger.versions import Content, Records
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import state_folder

_READERS = 16
_PATIENCE_SECONDS = 60.0
_CLOCK_SECONDS = 60.0
"""Where this machine's clock differs from the store's by more, records get the store's time."""
_BEYOND = "the ledger cannot be read on; `switchyard ledger verify` tells all that is wrong."

__all__ = ["Draft", "Ledger"]


class Ledger:
    """All calls may raise `Unavailable`, and `InvalidData` when the chain is broken beyond what can be read around."""

    def __init__(
        self,
        store: ObjectStore,
        cache: Path | None = None,
        block: int = SIZE,
        masker: Masker | None = None,
        anchors: Path | None = None,
        started_by: Mapping[str, str] | None = None,
        check: Callable[[str], None] | None = None,
    ) -> None:
        """`masker` has a site's own patterns besides the built-in ones; None: the built-in ones alone. `started_by`
        names the OpenLineage runs that started the command; it goes into the evidence of each record. `check` gets the
        type of each record that is to be appended, and raises `Refused` if its writer may not write it."""
        self._started_by = {"started_by": dict(started_by)} if started_by else {}
        self._store, self._blocks = store, Blocks(store, block)
        self._records = Records(store)
        self._bucket = store.settings.ledger_bucket
        lies_at = ledger_address(store)
        self._cache = Cache(cache, lies_at) if cache is not None else None
        self._anchor = Anchor(anchors, lies_at) if anchors is not None else None
        self._links: list[Link] = []
        self._ahead: list[int] = []
        self._state: State | None = None
        self._masker = masker or Masker()
        self._check = check
        self._loaded = False
        self._keep_days: int | None = None

    @classmethod
    def of_this_host(
        cls,
        store: ObjectStore,
        masker: Masker,
        *,
        cached: bool = True,
        started_by: Mapping[str, str] | None = None,
        check: Callable[[str], None] | None = None,
    ) -> Ledger:
        """The ledger with this host's anchor and, for commands, the cache on disk. `masker` has the site's patterns."""
        cache = state_folder() / "cache" / "ledger" if cached else None
        return cls(store, cache, masker=masker, anchors=anchor_folder(), started_by=started_by, check=check)

    def head(self) -> tuple[int, str]:
        """Serial and digest of the newest record; 0 and zeros for an empty ledger.

        Raises:
            LedgerRewritten: the chain lacks a record that this host has seen.
        """
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
        self._state.ahead = tuple(self._ahead)
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
            PromotionConflict: somebody else has written that serial. Refused: the writer's roles do not allow it.
        """
        if self._check is not None:
            self._check(draft.type)
        if len(self._links) < serial - 1:
            self._catch_up()
        if len(self._links) != serial - 1:
            raise PromotionConflict(
                f"The ledger has moved: record {serial} is not the next, {len(self._links) + 1} is."
            )
        ahead = self._store.seconds_ahead
        now = utc_now(ahead if abs(ahead) > _CLOCK_SECONDS else 0.0)
        evidence = {**draft.evidence, **self._started_by}
        draft = replace(draft, why=self._masker.mask(draft.why).text, evidence=evidence)
        link, data = placed(draft, self._links[-1] if self._links else None, now)
        if not self._written(serial, data, link.record.nonce):
            raise PromotionConflict(f"Somebody else has written record {serial} of the ledger first.")
        self._keep([(link, data)])
        if self._anchor is not None:
            self._anchor.advance(self._newest())
        return link.record

    def _written(self, serial: int, data: bytes, nonce: str) -> bool:
        """Put the record; a lost answer is settled by reading back, since a repeated PUT is refused by its own
        success.
        """
        if self._keep_days is None:
            self._keep_days = self._store.kept_days(self._bucket)
        try:
            if self._store.put_new(self._bucket, key_of(serial), data, "application/json", self._keep_days):
                return True
        except Unavailable:
            if self._holds(serial, nonce):
                return True
            raise
        return self._holds(serial, nonce)

    def _holds(self, serial: int, nonce: str) -> bool:
        try:
            return nonce.encode() in self._records.read(serial)
        except InvalidData:
            return False  # nothing is there

    def _catch_up(self) -> None:
        seen = self._anchor.read() if self._anchor is not None else None
        self._load()
        known = self._links[-1].record.serial if self._links else 0
        self._records.seen = seen
        listed = self._records.list_after(known)
        if listed.fresh:
            with ThreadPoolExecutor(min(_READERS, len(listed.fresh))) as pool:
                found = pool.map(self._records.read_one, listed.fresh)
                self._keep(_chained(found, self._links[-1] if self._links else None))
        self._ahead = listed.ahead
        self._check_contains(seen)

    def _check_contains(self, seen: Head | None) -> None:
        """Refuse a chain without what this host had seen before it read the chain."""
        if self._anchor is None:
            return
        if seen is not None and (now := self._differs_from(seen)) is not None:
            raise LedgerRewritten(
                f"The ledger in {self._bucket} is not the one that this host knows: record {seen.serial} was "
                f"{seen.digest}, and now {now}. It was cut, rewritten or replaced, so nothing is decided on it. "
                f"`switchyard ledger verify` says more. If you put another ledger there on purpose, remove "
                f"{self._anchor.path}."
            )
        if self._links and (seen is None or seen.serial < len(self._links)):
            self._anchor.advance(self._newest())

    def _differs_from(self, seen: Head) -> str | None:
        if len(self._links) < seen.serial:
            return f"the ledger ends with record {len(self._links)}"
        if (found := self._links[seen.serial - 1].digest) != seen.digest:
            return f"it is {found}"
        lost = [serial for serial in self._passed_over() if serial <= seen.serial and serial not in seen.passed_over]
        return f"record {lost[0]} before it no longer follows its predecessor" if lost else None

    def _newest(self) -> Head:
        return Head(len(self._links), self._links[-1].digest, self._passed_over())

    def _passed_over(self) -> tuple[int, ...]:
        return tuple(link.record.serial for link in self._links if link.record.type == UNREADABLE)

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
            return self._records.holds(link.record.serial, link.digest)
        except (NotFound, InvalidData):
            return False

    def _keep(self, fresh: list[tuple[Link, bytes]]) -> None:
        self._remember(fresh)
        self._blocks.write(self._links, len(fresh))

    def _remember(self, fresh: list[tuple[Link, bytes]]) -> None:
        self._links += [link for link, _ in fresh]
        if self._cache is not None:
            self._cache.add(fresh)


def anchor_folder() -> Path:
    """Where this host keeps the newest heads that it has seen."""
    return state_folder() / "ledger"


def ledger_address(store: ObjectStore) -> str:
    """Where a ledger lies: the name of its cache and of its anchor."""
    return f"{store.settings.s3_endpoint}/{store.settings.ledger_bucket}"


def _chained(found: Iterable[Content], before: Link | None) -> list[tuple[Link, bytes]]:
    fresh: list[tuple[Link, bytes]] = []
    try:
        for content in found:
            before = link_over(content.data, before, content.written, content.certain)
            fresh.append((before, content.data))
    except InvalidData as error:
        raise InvalidData(f"{error} So {_BEYOND}") from error
    return fresh
