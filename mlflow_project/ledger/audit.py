"""Read the whole ledger from the store, every version of every object, and name what was tampered with.

In: the store. Out: findings; none when all is well. Object lock protects versions and not keys: anyone with write
access can put a second version or a delete marker over a record. So the oldest version is what is trusted, and
anything above it is a finding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from mlflow_project.adapters.object_store import ObjectStore, StoredObject
from mlflow_project.domain.record import GENESIS, LedgerRecord
from mlflow_project.errors import InvalidData, NotFound, Unavailable
from mlflow_project.ledger.chain import key_of, read_record, serial_of
from mlflow_project.ledger.state import KNOWN_TYPES
from mlflow_project.rules.canonical import digest

_READERS = 16


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `serial` is None for an object that is no record."""

    serial: int | None
    problem: str
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class Audit:
    """How many records were read, and what is wrong with them."""

    records: int
    findings: tuple[Finding, ...]


def verify(store: ObjectStore) -> Audit:
    """Check every record.

    Raises:
        Unavailable: the store does not answer.
    """
    versions, strangers = _by_serial(store)
    findings = [Finding(None, "stranger", f"{key} is no record") for key in strangers]
    for serial, found in sorted(versions.items()):
        findings += _versions_of(serial, found)
    last = max(versions, default=0)
    oldest = {serial: found[-1] for serial, found in versions.items() if not found[-1].deleted}
    findings += [
        Finding(serial, "missing", "there is no such record") for serial in range(1, last) if serial not in oldest
    ]
    with ThreadPoolExecutor(_READERS) as pool:
        data = dict(zip(oldest, pool.map(lambda item: _bytes(store, item), oldest.values()), strict=True))
    findings += _chain(dict(sorted(data.items())))
    return Audit(len(oldest), tuple(sorted(findings, key=lambda finding: finding.serial or 0)))


def _by_serial(store: ObjectStore) -> tuple[dict[int, list[StoredObject]], list[str]]:
    """Every version of every record, newest first, and the keys of what is no record."""
    versions: dict[int, list[StoredObject]] = defaultdict(list)
    strangers = []
    for item in store.versions(store.settings.ledger_bucket):
        serial = serial_of(item.key)
        if serial is None:
            strangers.append(item.key)
        else:
            versions[serial].append(item)
    for found in versions.values():
        found.sort(key=lambda item: item.modified, reverse=True)
    return versions, sorted(set(strangers))


def _versions_of(serial: int, found: list[StoredObject]) -> Iterator[Finding]:
    markers = [item for item in found if item.deleted]
    if markers:
        yield Finding(
            serial, "deleted", f"{len(markers)} delete marker(s) lie over it; the oldest version is still there"
        )
    written = len(found) - len(markers)
    if written > 1:
        yield Finding(serial, "overwritten", f"it has {written} versions; the oldest counts")


def _bytes(store: ObjectStore, item: StoredObject) -> bytes | None:
    """The object's bytes; None when the store cannot give them, as for a damaged object."""
    try:
        return store.get(store.settings.ledger_bucket, item.key, item.version_id)
    except (NotFound, Unavailable):
        return None


def _chain(data: dict[int, bytes | None]) -> Iterator[Finding]:
    previous: str | None = GENESIS
    time = ""
    for serial, content in data.items():
        record = _record(content)
        if record is None:
            yield Finding(serial, "unreadable", f"{key_of(serial)} cannot be read, or is no record")
            previous = None
            continue
        if record.serial != serial:
            yield Finding(serial, "reordered", f"in its place lies record {record.serial}")
        if previous is not None and record.previous != previous and serial - 1 in data | {0: b""}:
            yield Finding(
                serial, "broken chain", f"it follows {record.previous}, but record {serial - 1} is {previous}"
            )
        if record.time < time:
            yield Finding(serial, "backdated", f"it says {record.time}, but the record before it {time}")
        if record.type not in KNOWN_TYPES:
            yield Finding(serial, "unknown type", f"its type {record.type!r} says nothing here, and changes nothing")
        previous, time = digest(content or b""), max(time, record.time)


def _record(content: bytes | None) -> LedgerRecord | None:
    if content is None:
        return None
    try:
        return read_record(content)
    except InvalidData:
        return None
