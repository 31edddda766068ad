"""Takes one record: checks it, recognises one that came before, sends it, and says what became of it.

In: the bytes of a line or a body. Out: an `Answer` with an HTTP status for this record: 202 taken, 409 another record
with its id came before, 413 too long, 422 not well formed, 429 and 503 not now.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingestion.courier import Courier
from ingestion.record import Receipt, Record
from mlflow_project.domain.times import utc_now
from mlflow_project.errors import InvalidData, NotFound, WorkspaceError
from mlflow_project.rules import ingestion as rules
from mlflow_project.rules.ingestion import Reason, Stream, Wrong
from mlflow_project.telemetry.catalogue import INGESTED
from mlflow_project.telemetry.meters import Meters

_ACCEPTED = 202
_RETRY_LATER = (429, 503)


@dataclass(frozen=True)
class Origin:
    """What a record's headers say of the request that brought it. `key_id` is "" where no API key is needed."""

    request_id: str
    traceparent: str
    owner: str
    key_id: str
    idempotency_key: str | None = None
    version: int | None = None


@dataclass(frozen=True)
class Answer:
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
        self._known: OrderedDict[str, tuple[bytes, asyncio.Future[Receipt]]] = OrderedDict()

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

    async def take(self, stream: Stream, raw: bytes, origin: Origin, line: int | None = None) -> Answer:
        """Take one record. `line` is its number where the request holds several."""
        if len(raw) > self.most_bytes:
            what = ("$", f"is longer than the {self.most_bytes:,} bytes allowed here")
            return self._refused(stream, Wrong(Reason.TOO_LONG, (what,)))
        value = stream.read(raw, origin.version)
        if isinstance(value, Wrong):
            return self._refused(stream, value)
        key = stream.key_of(value)
        if key is None or not rules.is_usable_id(key):
            what = (f"$.{stream.key_field}", f"must be a printable text of at most {rules.MOST_ID} characters")
            return self._refused(stream, Wrong(Reason.WRONG_KEY, (what,)))
        is_event = stream.topic.startswith(rules.EVENTS)
        event_id = _event_id(origin, line, str(value["id"]) if is_event and "id" in value else None)
        if not rules.is_usable_id(event_id):
            what = ("$.id", f"must be a printable text of at most {rules.MOST_ID} characters")
            return self._refused(stream, Wrong(Reason.WRONG_KEY, (what,)))
        version = stream.newest if origin.version is None else origin.version
        record = Record(stream.topic, key.encode(), raw, _headers(origin, event_id, version))
        # A document that comes again unchanged is the same one, and one that changed is a newer one.
        known_as = event_id if origin.idempotency_key or is_event else f"document {key}"
        return await self._send(record, key, event_id, known_as, may_change=known_as != event_id)

    async def delete(self, stream: Stream, key: str, origin: Origin) -> Answer:
        """Take a tombstone: a record without a value, which marks the document with this key as deleted."""
        if not rules.is_usable_id(key):
            what = ("$", f"must be a printable text of at most {rules.MOST_ID} characters")
            return self._refused(stream, Wrong(Reason.WRONG_KEY, (what,)))
        event_id = _event_id(origin, None, None)
        record = Record(stream.topic, key.encode(), None, _headers(origin, event_id, stream.newest))
        return await self._send(record, key, event_id, f"document {key}", may_change=True)

    async def _send(self, record: Record, key: str, event_id: str, known_as: str, *, may_change: bool) -> Answer:
        name, digest = f"{record.topic} {known_as}", hashlib.blake2b(record.value or b"", digest_size=16).digest()
        fields = {"id": key, "event_id": event_id, "topic": record.topic}
        known = self._known.get(name)
        if known is not None and (known[0] == digest or not may_change):
            if known[0] != digest:
                said = f"another record with the id {event_id!r} came before"
                return self._counted(record.topic, "refused", Answer(409, {**fields, "detail": said}))
            return await self._answer(known[1], fields, record.topic, duplicate=True)
        sent = asyncio.ensure_future(self.courier.send(record))
        self._remember(name, digest, sent)
        return await self._answer(sent, fields, record.topic)

    async def _answer(
        self, sent: asyncio.Future[Receipt], fields: dict[str, Any], topic: str, *, duplicate: bool = False
    ) -> Answer:
        try:
            receipt = await asyncio.shield(sent)
        except WorkspaceError as error:
            later = (error.retry_after or 1.0) if error.http_status in _RETRY_LATER else None
            failed = Answer(error.http_status, {**fields, "detail": str(error)}, later)
            return self._counted(topic, "refused", failed)
        if receipt.spooled:
            fields["spooled"] = True
        else:
            fields |= {"partition": receipt.partition, "offset": receipt.offset}
        if duplicate:
            fields["duplicate"] = True
        outcome = "duplicate" if duplicate else "spooled" if receipt.spooled else "accepted"
        return self._counted(topic, outcome, Answer(_ACCEPTED, fields))

    def _remember(self, name: str, digest: bytes, sent: asyncio.Future[Receipt]) -> None:
        """Remember a record, and forget it again if it is not delivered, so that it may be sent again."""
        self._known[name] = (digest, sent)
        self._known.move_to_end(name)
        while len(self._known) > self._most_known:
            self._known.popitem(last=False)

        def forget_failed(done: asyncio.Future[Receipt]) -> None:
            kept = self._known.get(name)
            if (done.cancelled() or done.exception() is not None) and kept is not None and kept[1] is done:
                del self._known[name]

        sent.add_done_callback(forget_failed)

    def _refused(self, stream: Stream, wrong: Wrong) -> Answer:
        status = 413 if wrong.reason is Reason.TOO_LONG else InvalidData.http_status
        errors = [{"path": path, "reason": what} for path, what in wrong.mistakes]
        return self._counted(stream.topic, "refused", Answer(status, {"reason": wrong.reason.value, "errors": errors}))

    def _counted(self, topic: str, outcome: str, answer: Answer) -> Answer:
        self._meters.record(INGESTED, 1, topic=topic, outcome=outcome, status=answer.status)
        return answer


def status_of(answers: Sequence[Answer]) -> int:
    """The HTTP status of a request with several records: that of its worst one."""
    found = {answer.status for answer in answers}
    for status in (503, 429):
        if status in found:
            return status
    return _ACCEPTED if found <= {_ACCEPTED} else InvalidData.http_status


def _event_id(origin: Origin, line: int | None, own: str | None) -> str:
    """The id that says which records are the same: from the caller's `Idempotency-Key`, the event's own, or a new one.

    An `Idempotency-Key` counts for the API key that sent it, so that no caller can use up another one's.
    """
    if origin.idempotency_key is not None:
        whole = "\0".join((origin.key_id, origin.idempotency_key, "" if line is None else str(line)))
        return "key-" + hashlib.sha256(whole.encode()).hexdigest()[:40]
    return own if own is not None else uuid.uuid4().hex


def _headers(origin: Origin, event_id: str, version: int) -> tuple[tuple[str, bytes], ...]:
    return (
        (rules.EVENT_ID, event_id.encode()),
        (rules.SCHEMA_VERSION, str(version).encode()),
        (rules.RECEIVED_AT, utc_now().encode()),
        (rules.OWNER, origin.owner.encode("utf-8", "surrogateescape")),
        (rules.REQUEST_ID, origin.request_id.encode()),
        (rules.TRACEPARENT, origin.traceparent.encode()),
    )
