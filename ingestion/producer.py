"""Kafka's idempotent producer (`acks=all`) for an event loop. In: records, several at once. Out: their `Delivery`.

confluent-kafka reports each delivery in the thread that polls; this module carries the reports to the event loop, many
at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from ingestion.record import Outcome, Receipt, Record
from mlflow_project.adapters.kafka import client_settings
from mlflow_project.errors import Exhausted, InvalidData, Unavailable, WorkspaceError
from mlflow_project.settings import KafkaSettings

_POLL_SECONDS = 0.1
_LINGER_MS = 5
MOST_MESSAGE_BYTES = 2_097_152


class NotDelivered(Unavailable):
    """Kafka did not confirm a record in time. It may have it all the same."""


class TopicMissing(Unavailable):
    """The topic does not exist, or this service may not write to it."""


class Delivery:
    """Records that were handed to Kafka together. `done` ends with the outcome of each, when all have one."""

    def __init__(self, number: int) -> None:
        self.done: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._outcomes: dict[int, Outcome] = {}
        self._number = number

    def note(self, at: int, outcome: Outcome) -> None:
        """Note what became of one record."""
        self._outcomes[at] = outcome
        if len(self._outcomes) == self._number and not self.done.done():
            self.done.set_result([self._outcomes[at] for at in range(self._number)])


class KafkaProducer:
    """One producer, with the thread that polls it. A producer whose records were purged is closed, not used again."""

    def __init__(
        self, settings: KafkaSettings, seconds: float, queue_bytes: int, on_failure: Callable[[], None]
    ) -> None:
        """Connect. `on_failure` is called in the event loop whenever Kafka did not confirm a record."""
        own = {
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": _LINGER_MS,
            "delivery.timeout.ms": max(_LINGER_MS + 100, round(seconds * 1000)),
            "request.timeout.ms": max(1000, round(seconds * 1000)),
            "message.max.bytes": MOST_MESSAGE_BYTES,
            "queue.buffering.max.kbytes": max(1024, 2 * queue_bytes // 1024),
            "queue.buffering.max.messages": 500_000,
            "compression.type": "lz4",
            "error_cb": _ignore,
        }
        self._producer = Producer({**client_settings(settings), **own})
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._reports: deque[tuple[Delivery, int, KafkaError | None, int, int]] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-poll", daemon=True)
        self._thread.start()

    def send(self, records: Sequence[Record]) -> Delivery:
        """Hand records to Kafka, in their order. A record that Kafka cannot take now ends the sending: those after it
        have the same outcome, so that none overtakes another.
        """
        delivery = Delivery(len(records))
        for at, record in enumerate(records):
            error = self._produce(record, partial(self._delivered, delivery, at))
            if isinstance(error, InvalidData):
                delivery.note(at, error)
            elif error is not None:
                for later in range(at, len(records)):
                    delivery.note(later, error)
                if isinstance(error, NotDelivered):
                    self._on_failure()
                break
        return delivery

    def purge(self) -> None:
        """Give up on all records that Kafka has not confirmed: their outcome is `NotDelivered`."""
        self._producer.purge(in_queue=True, in_flight=True, blocking=False)

    def close(self) -> None:
        """End the thread that polls."""
        self._stop.set()

    def _produce(self, record: Record, on_delivery: Callable[..., None]) -> WorkspaceError | None:
        """Hand over one record. Returns why it cannot be taken, if so."""
        topic, key, value, headers = record
        try:
            self._producer.produce(topic, value=value, key=key, headers=list(headers), on_delivery=on_delivery)
        except BufferError:
            return Exhausted("Too many records wait for Kafka: try again in a second.", retry_after=1.0)
        except KafkaException as error:
            return _ours(error.args[0])
        return None

    def _poll(self) -> None:
        while not self._stop.is_set() or len(self._producer):
            self._producer.poll(_POLL_SECONDS)

    def _delivered(self, delivery: Delivery, at: int, error: KafkaError | None, message: Any) -> None:
        """Called in the thread that polls."""
        self._reports.append((delivery, at, error, message.partition(), message.offset()))
        if len(self._reports) == 1:
            self._loop.call_soon_threadsafe(self._note_reports)

    def _note_reports(self) -> None:
        while self._reports:
            delivery, at, error, partition, offset = self._reports.popleft()
            outcome = Receipt(partition, offset) if error is None else _ours(error)
            if isinstance(outcome, NotDelivered):
                self._on_failure()
            delivery.note(at, outcome)


def _ours(error: KafkaError) -> WorkspaceError:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return InvalidData("The record is larger than its topic takes.")
    if error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:
        return TopicMissing("The topic does not exist in Kafka: `switchyard topics apply` creates it.")
    if error.code() in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}:
        return TopicMissing("Kafka does not let this service write to the topic.")
    return NotDelivered(f"Kafka did not confirm the record: {error.str()}.")


def _ignore(_: KafkaError) -> None:
    """Take the client's notices of lost connections. The courier notices by itself when Kafka does not confirm."""
