"""Read the whole ledger from the store, every version of every object, and name what is wrong.

In: the store; the keys that seals are checked with; heads that the chain must contain. Out: the findings, none when all
is well. Object lock protects versions and not keys: anyone with write access can put a second version or a delete
marker over a record, and both are findings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from mlflow_project.adapters.object_store import LOCK_DAYS, ObjectStore, StoredObject
from mlflow_project.domain.record import GENESIS, LedgerRecord
from mlflow_project.errors import InvalidData, NotFound, SealBroken, Unavailable
from mlflow_project.ledger.anchor import Head
from mlflow_project.ledger.chain import is_ahead, key_of, read_record, serial_of
from mlflow_project.ledger.replaying import KNOWN_TYPES
from mlflow_project.rules.canonical import digest

_READERS = 16
_DAY = 86_400.0
CheckSeal = Callable[[LedgerRecord], None]
"""Raises SealBroken for a record of type `seal` whose envelope does not hold."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `serial` is None for what concerns no single record."""

    serial: int | None
    problem: str
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class Audit:
    """How many records were read, the newest one, and what is wrong."""

    records: int
    findings: tuple[Finding, ...]
    head: Head

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        found = [finding.to_dict() for finding in self.findings]
        head = {"serial": self.head.serial, "digest": self.head.digest}
        return {"records": self.records, "ok": not found, "head": head, "findings": found}


@dataclass(frozen=True)
class _Content:
    """The bytes of a record's oldest version (None: the store cannot give them), and until when object lock keeps it.
    `written`, by the store's clock, is in seconds since the epoch."""

    data: bytes | None
    kept_until: datetime | None
    written: float


def verify(store: ObjectStore, check_seal: CheckSeal | None = None, heads: Collection[str | Head] = ()) -> Audit:
    """Check every record.

    Args:
        check_seal: checks the envelope of each seal; None: seals are not checked.
        heads: digests, or records that a host has seen, which the chain must contain.

    Raises:
        Unavailable: the store does not answer.
    """
    versions, strangers = _by_serial(store)
    findings = [Finding(None, "stranger", f"{key} is no record") for key in strangers]
    for serial, found in sorted(versions.items()):
        findings += _versions_of(serial, found)
    oldest = {serial: found[-1] for serial, found in sorted(versions.items()) if not found[-1].deleted}
    findings += _gaps(sorted(oldest))
    with ThreadPoolExecutor(_READERS) as pool:
        contents = dict(zip(oldest, pool.map(lambda item: _content(store, item), oldest.values()), strict=True))
    findings += _retention(contents)
    findings += _chain(contents, check_seal)
    digests = {serial: digest(content.data) for serial, content in contents.items() if content.data is not None}
    findings += _heads(digests, heads)
    last = max(digests, default=0)
    head = Head(last, digests.get(last, GENESIS))
    return Audit(len(oldest), tuple(sorted(findings, key=lambda finding: finding.serial or 0)), head)


def extend(store: ObjectStore, days: int) -> int:
    """Have object lock keep every version of every record for so many days from now; how many there are.

    Takes credentials that may set retention. It never shortens the time for which a record is kept.
    """
    until = datetime.fromtimestamp(datetime.now(UTC).timestamp() + days * _DAY, UTC)
    bucket = store.settings.ledger_bucket
    versions, _ = _by_serial(store)
    items = [item for found in versions.values() for item in found if not item.deleted]

    def lengthen(item: StoredObject) -> None:
        _, kept_until = store.get_locked(bucket, item.key, item.version_id)
        if kept_until is None or kept_until < until:
            store.keep_until(bucket, item.key, item.version_id, until)

    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(lengthen, items))
    return len(items)


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
        yield Finding(serial, "deleted", f"{len(markers)} delete marker(s) lie over it; its content is still there")
    written = len(found) - len(markers)
    if written > 1:
        yield Finding(serial, "overwritten", f"it has {written} versions, and a record is written once")


def _gaps(serials: list[int]) -> Iterator[Finding]:
    """One finding per gap, however wide it is."""
    for before, after in pairwise([0, *serials]):
        if after - before == 2:
            yield Finding(before + 1, "missing", "there is no such record")
        elif after - before > 2:
            yield Finding(before + 1, "missing", f"records {before + 1} to {after - 1} are missing")


def _content(store: ObjectStore, item: StoredObject) -> _Content:
    try:
        data, kept_until = store.get_locked(store.settings.ledger_bucket, item.key, item.version_id)
        return _Content(data, kept_until, item.modified)
    except (NotFound, Unavailable):  # as for an object that is damaged on disk
        return _Content(None, None, item.modified)


def _retention(contents: Mapping[int, _Content]) -> Iterator[Finding]:
    now = datetime.now(UTC)
    for serial, content in contents.items():
        if content.data is None:
            continue
        if content.kept_until is None:
            yield Finding(serial, "unprotected", "no object lock in COMPLIANCE mode keeps it: it can be deleted")
        elif content.kept_until < now:
            until = f"{content.kept_until:%Y-%m-%d}"
            yield Finding(serial, "unprotected", f"object lock kept it until {until}: `switchyard ledger extend`")
        elif content.kept_until.timestamp() < content.written + (LOCK_DAYS - 1) * _DAY:
            until = f"{content.kept_until:%Y-%m-%d %H:%M}"
            yield Finding(serial, "unprotected", f"object lock keeps it only until {until}, which is less than a year")


def _heads(digests: Mapping[int, str], heads: Collection[str | Head]) -> Iterator[Finding]:
    for head in heads:
        wanted = head.digest if isinstance(head, Head) else head
        if isinstance(head, Head):
            is_there, serial = digests.get(head.serial) == wanted, head.serial
            what = f"this host has seen {wanted} as record {head.serial}"
        else:
            is_there, serial, what = wanted in digests.values(), 0, f"no record has the digest {wanted}"
        if not is_there:
            yield Finding(serial or None, "head missing", f"{what}: the ledger was cut, rewritten or replaced")


def _chain(contents: Mapping[int, _Content], check_seal: CheckSeal | None) -> Iterator[Finding]:
    previous: str | None = GENESIS
    time = ""
    for serial, content in contents.items():
        record = _record(content.data)
        if record is None:
            yield Finding(serial, "unreadable", f"{key_of(serial)} cannot be read, or is no record")
            previous = None if content.data is None else digest(content.data)
            continue
        if record.serial != serial:
            yield Finding(serial, "reordered", f"in its place lies record {record.serial}")
        if previous is not None and record.previous != previous and (serial == 1 or serial - 1 in contents):
            yield Finding(
                serial, "broken chain", f"it follows {record.previous}, but record {serial - 1} is {previous}"
            )
        if record.time < time:
            yield Finding(serial, "backdated", f"it says {record.time}, but the record before it {time}")
        if is_ahead(record, min(content.written, datetime.now(UTC).timestamp())):
            yield Finding(serial, "dated ahead", f"it says {record.time}, which is ahead of the store's clock")
        else:
            time = max(time, record.time)
        if record.type not in KNOWN_TYPES:
            yield Finding(serial, "unknown type", f"its type {record.type!r} says nothing here, and changes nothing")
        if record.type == "seal" and check_seal is not None:
            try:
                check_seal(record)
            except SealBroken as error:
                yield Finding(serial, "broken seal", str(error))
        previous = digest(content.data or b"")


def _record(content: bytes | None) -> LedgerRecord | None:
    if content is None:
        return None
    try:
        return read_record(content)
    except InvalidData:
        return None
