"""Takes records: checks each, recognises those that came before, sends the others, and says what became of each.

In: the bytes of lines or of a body. Out: for each record an `Answer` with an HTTP status: 202 taken, 409 another record
with its id came before, 413 too long, 422 not well formed, 429 and 503 not now.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ingestion.courier import Courier
from ingestion.record import Headers, Outcome, Record
from mlflow_project.domain.times import utc_now
from mlflow_project.errors import InvalidData, NotFound, WorkspaceError
from mlflow_project.rules import ingestion as rules
from mlflow_project.rules.ingestion import Reason, Stream, Wrong
from mlflow_project.telemetry.catalogue import INGESTED
from mlflow_project.telemetry.meters import Meters

_ACCEPTED = 202
_RETRY_LATER = (429, 503)
Line = tuple[int | None, bytes]
"""The bytes of a record, and its number where the request holds several."""


@dataclass(frozen=True)
class Origin:
    """What a record's headers say of the request that brought it. `key_id` is "" where no API key is needed."""

    request_id: str
    traceparent: str
    owner: str
    key_id: str
    idempotency_key: str | None = None
    version: int | None = None


class Answer(NamedTuple):
    """What became of one record. `fields` is what the caller is told."""

    status: int
    fields: Mapping[str, Any]
    retry_after: float | None = None

    @property
    def taken(self) -> bool:
        """Whether Kafka or the disk has the record."""
        return self.status == _ACCEPTED

    def to_dict(self, line: int) -> dict[str, Any]:
        """The answer to one line of several."""
        return {"line": line, "status": self.status, **self.fields}


class _Sent:
    """A record on its way: `sending` ends when `outcome` is set. The digest is that of its value."""

    __slots__ = ("digest", "outcome", "sending")

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.sending: asyncio.Future[None] | None = None
        self.outcome: Outcome | None = None


class _Read(NamedTuple):
    """A record that was found well formed. `name` is what it is remembered by; None: nothing can be the same record."""

    record: Record
    fields: dict[str, Any]
    sent: _Sent
    name: str | None
    is_duplicate: bool


class Intake:
    """The intake of one service. `streams` are those of the folder of schemas, by topic."""

    def __init__(
        self, courier: Courier, streams: Mapping[str, Stream], most_bytes: int, most_known: int, meters: Meters
    ) -> None:
        self.courier = courier
        self.most_bytes = most_bytes
        self._streams = streams
        self._most_known = most_known
        self._meters = meters
        self._known: OrderedDict[str, _Sent] = OrderedDict()

    def stream(self, topic: str) -> Stream:
        """The stream of a topic.

        Raises:
            NotFound: no schema is registered for it.
        """
        found = self._streams.get(topic)
        if found is None:
            known = ", ".join(name.removeprefix(rules.EVENTS) for name in sorted(self._streams) if "." in name)
            raise NotFound(
                f"No schema is registered for {topic}: add schemas/events/<stream>/v1.json. Streams: {known or 'none'}."
            )
        return found

    async def take(self, stream: Stream, lines: Sequence[Line], origin: Origin) -> list[Answer]:
        """Take records that came together. Returns the answer to each."""
        common = _common_headers(origin, stream.newest if origin.version is None else origin.version)
        new_id = secrets.token_hex(16)
        found = [self._read(stream, line, origin, common, new_id) for line in lines]
        return await self._send(stream.topic, found)

    async def delete(self, stream: Stream, key: str, origin: Origin) -> Answer:
        """Take a tombstone: a record without a value, which marks the document with this key as deleted."""
        if not rules.is_usable_id(key):
            what = ("$", f"must be a printable text of at most {rules.MOST_ID} characters")
            [answer] = await self._send(stream.topic, [_refused(Wrong(Reason.WRONG_KEY, (what,)))])
            return answer
        event_id = _event_id(origin, None, None, secrets.token_hex(16))
        record = Record(stream.topic, key.encode(), None, _headers(event_id, _common_headers(origin, stream.newest)))
        found = self._recognised(record, key, event_id, f"document {key}", may_change=True)
        [answer] = await self._send(stream.topic, [found])
        return answer

    def _read(self, stream: Stream, line: Line, origin: Origin, common: Headers, new_id: str) -> _Read | Answer:
        """Check one record. Returns the answer if it cannot be taken."""
        number, raw = line
        if len(raw) > self.most_bytes:
            what = ("$", f"is longer than the {self.most_bytes:,} bytes allowed here")
            return _refused(Wrong(Reason.TOO_LONG, (what,)))
        value = stream.read(raw, origin.version)
        if isinstance(value, Wrong):
            return _refused(value)
        key = stream.key_of(value)
        if key is None or not rules.is_usable_id(key):
            what = (f"$.{stream.key_field}", f"must be a printable text of at most {rules.MOST_ID} characters")
            return _refused(Wrong(Reason.WRONG_KEY, (what,)))
        is_event = stream.topic.startswith(rules.EVENTS)
        own = str(value["id"]) if is_event and "id" in value else None
        event_id = _event_id(origin, number, own, new_id)
        if not rules.is_usable_id(event_id):
            what = ("$.id", f"must be a printable text of at most {rules.MOST_ID} characters")
            return _refused(Wrong(Reason.WRONG_KEY, (what,)))
        record = Record(stream.topic, key.encode(), raw, _headers(event_id, common))
        if origin.idempotency_key is not None or own is not None:
            return self._recognised(record, key, event_id, event_id, may_change=False)
        # An event without an id is always a new one. A document that comes again unchanged is the same one, and one
        # that changed is a newer one.
        known_as = None if is_event else f"document {key}"
        return self._recognised(record, key, event_id, known_as, may_change=True)

    def _recognised(
        self, record: Record, key: str, event_id: str, known_as: str | None, *, may_change: bool
    ) -> _Read | Answer:
        """Look for the same record among those that came before, and remember this one."""
        fields = {"id": key, "event_id": event_id, "topic": record.topic}
        if known_as is None:
            return _Read(record, fields, _Sent(b""), None, is_duplicate=False)
        name, digest = f"{record.topic} {known_as}", hashlib.blake2b(record.value or b"", digest_size=16).digest()
        known = self._known.get(name)
        if known is not None and known.digest == digest:
            return _Read(record, fields, known, name, is_duplicate=True)
        if known is not None and not may_change:
            return Answer(409, {**fields, "detail": f"another record with the id {event_id!r} came before"})
        sent = self._known[name] = _Sent(digest)
        self._known.move_to_end(name)
        while len(self._known) > self._most_known:
            self._known.popitem(last=False)
        return _Read(record, fields, sent, name, is_duplicate=False)

    async def _send(self, topic: str, found: Sequence[_Read | Answer]) -> list[Answer]:
        """Send the records that are new, wait until every record has an outcome, and count the answers."""
        new = [each for each in found if isinstance(each, _Read) and not each.is_duplicate]
        if new:  # in a task of its own, so that a caller who goes away does not end it
            sending = asyncio.ensure_future(self._deliver(new))
            for each in new:
                each.sent.sending = sending
        for read in found:
            if isinstance(read, _Read) and read.sent.sending is not None:
                await asyncio.shield(read.sent.sending)
        answers = [_answer(each) if isinstance(each, _Read) else each for each in found]
        outcomes = Counter((_outcome(answer), answer.status) for answer in answers)
        for (outcome, status), number in outcomes.items():
            self._meters.record(INGESTED, number, topic=topic, outcome=outcome, status=status)
        return answers

    async def _deliver(self, new: Sequence[_Read]) -> None:
        """Send records and note their outcomes. One that was not taken is forgotten, so that it may be sent again."""
        try:
            outcomes = await self.courier.send([each.record for each in new])
        except BaseException:
            self._forget(new)
            raise
        for each, outcome in zip(new, outcomes, strict=True):
            each.sent.outcome, each.sent.sending = outcome, None
        self._forget([each for each in new if isinstance(each.sent.outcome, WorkspaceError)])

    def _forget(self, reads: Sequence[_Read]) -> None:
        for each in reads:
            if each.name is not None and self._known.get(each.name) is each.sent:
                del self._known[each.name]


def status_of(answers: Sequence[Answer]) -> int:
    """The HTTP status of a request with several records: that of its worst one."""
    found = {answer.status for answer in answers}
    for status in (503, 429):
        if status in found:
            return status
    return _ACCEPTED if found <= {_ACCEPTED} else InvalidData.http_status


def _event_id(origin: Origin, line: int | None, own: str | None, new_id: str) -> str:
    """The id that says which records are the same: from the caller's `Idempotency-Key`, the event's own, or a new one.

    An `Idempotency-Key` counts for the API key that sent it, so that no caller can use up another one's.
    """
    if origin.idempotency_key is not None:
        whole = "\0".join((origin.key_id, origin.idempotency_key, "" if line is None else str(line)))
        return "key-" + hashlib.sha256(whole.encode()).hexdigest()[:40]
    if own is not None:
        return own
    return new_id if line is None else f"{new_id}-{line}"


def _common_headers(origin: Origin, version: int) -> Headers:
    """The headers that all records of a request have."""
    return (
        (rules.SCHEMA_VERSION, str(version).encode()),
        (rules.RECEIVED_AT, utc_now().encode()),
        (rules.OWNER, origin.owner.encode("utf-8", "surrogateescape")),
        (rules.REQUEST_ID, origin.request_id.encode()),
        (rules.TRACEPARENT, origin.traceparent.encode()),
    )


def _headers(event_id: str, common: Headers) -> Headers:
    return ((rules.EVENT_ID, event_id.encode()), *common)


def _answer(read: _Read) -> Answer:
    """The answer to a record that has an outcome."""
    outcome, fields = read.sent.outcome, read.fields
    if isinstance(outcome, WorkspaceError):
        later = (outcome.retry_after or 1.0) if outcome.http_status in _RETRY_LATER else None
        return Answer(outcome.http_status, {**fields, "detail": str(outcome)}, later)
    assert outcome is not None, "its sending has ended"
    if outcome.spooled:
        fields["spooled"] = True
    else:
        fields["partition"], fields["offset"] = outcome.partition, outcome.offset
    if read.is_duplicate:
        fields["duplicate"] = True
    return Answer(_ACCEPTED, fields)


def _outcome(answer: Answer) -> str:
    """What the metric calls an answer."""
    if not answer.taken:
        return "refused"
    return "duplicate" if "duplicate" in answer.fields else "spooled" if "spooled" in answer.fields else "accepted"


def _refused(wrong: Wrong) -> Answer:
    status = 413 if wrong.reason is Reason.TOO_LONG else InvalidData.http_status
    errors = [{"path": path, "reason": what} for path, what in wrong.mistakes]
    return Answer(status, {"reason": wrong.reason.value, "errors": errors})
