"""Kafka's idempotent producer (`acks=all`) for an event loop. In: records. Out: for each, a future with its receipt.

confluent-kafka reports deliveries in the thread that polls; this module carries them to the event loop, many at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from ingestion.record import Receipt, Record
from mlflow_project.adapters.kafka import client_settings
from mlflow_project.errors import Exhausted, InvalidData, Unavailable
from mlflow_project.settings import KafkaSettings

_POLL_SECONDS = 0.1
_LINGER_MS = 5
MOST_MESSAGE_BYTES = 2_097_152


class NotDelivered(Unavailable):
    """Kafka did not confirm a record in time. It may have it all the same."""


class TopicMissing(Unavailable):
    """The topic does not exist, or this service may not write to it."""


class KafkaProducer:
    """One producer, with the thread that polls it. A producer whose records were purged is closed, not used again."""

    def __init__(self, settings: KafkaSettings, seconds: float, queue_bytes: int) -> None:
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
        self._loop = asyncio.get_running_loop()
        self._done: deque[tuple[asyncio.Future[Receipt], KafkaError | None, int, int]] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-poll", daemon=True)
        self._thread.start()

    def send(self, record: Record) -> asyncio.Future[Receipt]:
        """Hand a record to Kafka. The future ends with its receipt, or with `NotDelivered`.

        Raises:
            Exhausted: too many records wait for Kafka. NotDelivered: this producer can send nothing more.
        """
        future = self._loop.create_future()
        try:
            self._producer.produce(
                record.topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                on_delivery=partial(self._delivered, future),
            )
        except BufferError as error:
            raise Exhausted("Too many records wait for Kafka: try again in a second.", retry_after=1.0) from error
        except KafkaException as error:
            raise _ours(error.args[0]) from error
        return future

    def purge(self) -> None:
        """Give up on all records that Kafka has not confirmed: their futures end with `NotDelivered`."""
        self._producer.purge(in_queue=True, in_flight=True, blocking=False)

    def close(self) -> None:
        """End the thread that polls."""
        self._stop.set()

    def _poll(self) -> None:
        while not self._stop.is_set() or len(self._producer):
            self._producer.poll(_POLL_SECONDS)

    def _delivered(self, future: asyncio.Future[Receipt], error: KafkaError | None, message: Any) -> None:
        """Called in the thread that polls."""
        self._done.append((future, error, message.partition(), message.offset()))
        if len(self._done) == 1:
            self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        while self._done:
            future, error, partition, offset = self._done.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(Receipt(partition, offset))
            else:
                future.set_exception(_ours(error))


def _ours(error: KafkaError) -> Exception:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return InvalidData("The record is larger than its topic takes.")
    if error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:
        return TopicMissing("The topic does not exist in Kafka: `switchyard topics apply` creates it.")
    if error.code() in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}:
        return TopicMissing("Kafka does not let this service write to the topic.")
    return NotDelivered(f"Kafka did not confirm the record: {error.str()}.")


def _ignore(_: KafkaError) -> None:
    """Take the client's notices of lost connections. The courier notices by itself when Kafka does not confirm."""
