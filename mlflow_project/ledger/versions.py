"""A ledger's records as objects in the store: what is new, and which version of an object is the record.

A record has one version: it is written with `If-None-Match: *` under object lock. More than one means that somebody
wrote over it. MinIO lets a writer choose the time of his version, so "the oldest version" alone is not trustworthy:
the genuine version is the one that this host has seen, else the oldest one that the next record names as its
predecessor. For the newest record of a host that has not seen it, the oldest version is taken.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass

import orjson

from mlflow_project.adapters.object_store import LOCK_DAYS, ObjectStore, StoredObject
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.ledger.anchor import Head
from mlflow_project.ledger.chain import PREFIX, key_of, serial_of
from mlflow_project.rules.canonical import digest

_DAY = 86_400.0


@dataclass(frozen=True)
class Listed:
    """Serials of new records without a gap, and those of objects that lie beyond a gap: no records of this ledger."""

    fresh: list[int]
    ahead: list[int]


@dataclass(frozen=True)
class Content:
    """A record's bytes, when they were written by the store's clock (in seconds since the epoch), and whether it is
    certain that nobody has changed the record before."""

    data: bytes
    written: float
    certain: bool


class Records:
    """All calls may raise `Unavailable`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._bucket = store.settings.ledger_bucket
        self._versions: dict[int, list[StoredObject]] = {}
        self.seen: Head | None = None

    def list_after(self, known: int) -> Listed:
        """What lies in the store after record `known`, which must still be there.

        A gap ends the list. Object lock keeps every record for a year, so where the record before the gap is younger,
        nothing can have been deleted: what lies beyond was put there by somebody else.

        Raises:
            InvalidData: a record is missing that may have been there.
        """
        self._versions = self._listed(key_of(max(known - 1, 0)))
        if known and known not in self._versions:
            raise InvalidData(f"Ledger record {known} is missing: it was there before. {_SEE}")
        last = known
        while last + 1 in self._versions or (self._beyond(last) and self._find(last + 1)):
            last += 1
        ahead = self._beyond(last)
        if ahead and not self._is_locked(last):
            raise InvalidData(f"Ledger record {last + 1} is missing, and record {ahead[0]} is there. {_SEE}")
        return Listed(list(range(known + 1, last + 1)), ahead)

    def read_one(self, serial: int) -> Content:
        """A record that was listed."""
        versions = self._versions[serial]
        certain = serial == 1 or self._is_certain(serial - 1)
        if len(versions) == 1:
            return Content(self._bytes(versions[0]), self._written(versions[0]), certain)
        contents = {version.version_id: self._bytes(version) for version in versions}
        if self.seen is not None and self.seen.serial == serial:
            named = {self.seen.digest}
        else:
            named = self._named_by_next(serial)
        oldest_first = versions[::-1]
        genuine = next((each for each in oldest_first if digest(contents[each.version_id]) in named), oldest_first[0])
        return Content(contents[genuine.version_id], self._written(genuine), certain)

    def read(self, serial: int) -> bytes:
        """The bytes of a record, looked up now.

        Raises:
            InvalidData: it is missing.
        """
        if not self._find(serial):
            raise InvalidData(f"Ledger record {serial} is missing. {_SEE}")
        return self.read_one(serial).data

    def holds(self, serial: int, wanted: str) -> bool:
        """Whether some version of this record has this digest."""
        return self._find(serial) and any(digest(self._bytes(each)) == wanted for each in self._versions[serial])

    def _listed(self, after: str, prefix: str = PREFIX) -> dict[int, list[StoredObject]]:
        """The versions of every record after a key, a record's newest first, without delete markers."""
        found: dict[int, list[StoredObject]] = defaultdict(list)
        for item in self._store.versions(self._bucket, prefix, after):
            serial = serial_of(item.key)
            if serial is not None and not item.deleted:
                found[serial].append(item)
        return dict(found)

    def _find(self, serial: int) -> bool:
        """Look for one record, which may have been written while the list was made."""
        self._versions |= self._listed("", key_of(serial))
        return serial in self._versions

    def _beyond(self, last: int) -> list[int]:
        return sorted(serial for serial in self._versions if serial > last)

    def _is_locked(self, serial: int) -> bool:
        """Whether object lock still keeps this record, and so every later one."""
        found = self._versions.get(serial)
        return found is not None and time.time() - self._written(found[-1]) < (LOCK_DAYS - 1) * _DAY

    def _is_certain(self, serial: int) -> bool:
        """Whether nobody can have changed this record: it has one version, and object lock still keeps it."""
        return len(self._versions.get(serial, ())) == 1 and self._is_locked(serial)

    def _written(self, item: StoredObject) -> float:
        """When an object was written; never later than now, since a writer can choose the time that MinIO shows."""
        return min(item.modified, time.time() + self._store.seconds_ahead)

    def _bytes(self, item: StoredObject) -> bytes:
        return self._store.get(self._bucket, item.key, item.version_id)

    def _named_by_next(self, serial: int) -> set[str]:
        """The digests that the versions of the next record name as their predecessor."""
        named = set()
        for item in self._versions.get(serial + 1, self._listed("", key_of(serial + 1)).get(serial + 1, [])):
            try:
                data = orjson.loads(self._bytes(item))
                named.add(str(data["previous"]))
            except (NotFound, ValueError, KeyError, TypeError):
                continue
        return named


_SEE = "So the ledger cannot be read on; `switchyard ledger verify` tells all that is wrong."
