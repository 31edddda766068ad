"""Kafka's client: its configuration from settings, the topics, and offsets. confluent-kafka's errors become ours.

In: `KafkaSettings`. The ingestion service, commands and the Spark job's driver use it; nothing else loads the client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from mlflow_project.adapters.schema_folder import TopicPlan
from mlflow_project.errors import InvalidData, Refused, Unavailable, WorkspaceError
from mlflow_project.rules import ingestion as rules
from mlflow_project.settings import KafkaSettings

SECONDS = 10.0
_REFUSED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})


@dataclass(frozen=True)
class TopicChange:
    """What `apply` did with one topic: `created`, `changed` (with what), or `unchanged`."""

    topic: str
    outcome: str
    what: tuple[str, ...] = ()


def client_settings(settings: KafkaSettings) -> dict[str, Any]:
    """The settings of librdkafka that every client has."""
    found: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_brokers,
        "security.protocol": settings.kafka_security,
        "socket.timeout.ms": 10_000,
        "reconnect.backoff.max.ms": 1_000,
        "log_level": 2,
    }
    if settings.kafka_security.startswith("SASL"):
        found["sasl.mechanism"] = settings.kafka_sasl_mechanism
        found["sasl.username"] = settings.kafka_user or ""
        found["sasl.password"] = settings.kafka_password.get_secret_value() if settings.kafka_password else ""
    if settings.kafka_ca_file is not None:
        found["ssl.ca.location"] = str(settings.kafka_ca_file)
    return found


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the client's errors into ours, in a sentence that begins with `doing`."""
    try:
        yield
    except KafkaException as error:
        raise ours(doing, error.args[0]) from error


def ours(doing: str, error: KafkaError) -> WorkspaceError:
    """An error of the client as one of ours."""
    said = error.str() if isinstance(error, KafkaError) else str(error)
    if isinstance(error, KafkaError) and error.code() in _REFUSED:
        return Refused(f"{doing}: Kafka refuses it: {said}")
    return Unavailable(f"{doing}: Kafka does not answer, or cannot do it: {said}")


class Cluster:
    """The topics of a Kafka cluster. Every call may raise `Unavailable` or `Refused`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._brokers = settings.kafka_brokers
        self._admin = AdminClient(client_settings(settings))

    def topics(self) -> set[str]:
        """The names of all topics."""
        with translated(f"Asking {self._brokers} for its topics"):
            return set(self._admin.list_topics(timeout=SECONDS).topics)

    def apply(self, plans: Mapping[str, TopicPlan]) -> list[TopicChange]:
        """Create the topics that are missing, and change those that differ. Deletes nothing.

        Raises:
            InvalidData: a plan has fewer partitions than its topic; Kafka cannot take partitions away.
        """
        with translated(f"Applying the topics to {self._brokers}"):
            return [self._apply(name, plan) for name, plan in plans.items()]

    def topic_id(self, topic: str) -> str | None:
        """The id that Kafka gave to a topic when it was created; None: there is no such topic."""
        with translated(f"Asking {self._brokers} for the topic {topic}"):
            try:
                found = self._admin.describe_topics(TopicCollection([topic]), request_timeout=SECONDS)
                return str(found[topic].result().topic_id)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    return None
                raise

    def offsets(self, topic: str) -> dict[int, tuple[int, int]]:
        """By partition, the first offset that is still there and the next one that will be written."""
        with translated(f"Asking {self._brokers} for the offsets of {topic}"):
            numbers = sorted(self._admin.list_topics(topic, timeout=SECONDS).topics[topic].partitions)
            ends = [
                self._admin.list_offsets({TopicPartition(topic, n): spec for n in numbers}, request_timeout=SECONDS)
                for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
            ]
            first, last = ({at.partition: done.result().offset for at, done in end.items()} for end in ends)
            return {n: (first[n], last[n]) for n in numbers}

    def _apply(self, name: str, plan: TopicPlan) -> TopicChange:
        found = self._admin.list_topics(timeout=SECONDS).topics.get(name)
        if found is None:
            return self._create(name, plan)
        what: list[str] = []
        has = len(found.partitions)
        if has > plan.partitions:
            raise InvalidData(
                f"{name} has {has} partitions, and topics.yaml says {plan.partitions}: Kafka cannot take partitions "
                "away. Write the number that there is, or begin a new topic."
            )
        if has < plan.partitions:
            self._admin.create_partitions([NewPartitions(name, plan.partitions)], request_timeout=SECONDS)[
                name
            ].result()
            what.append(f"partitions {has} -> {plan.partitions}")
        resource = ConfigResource(ResourceType.TOPIC, name)
        now = self._admin.describe_configs([resource], request_timeout=SECONDS)[resource].result()
        differs = {key: value for key, value in plan.settings().items() if now[key].value != value}
        if differs:
            entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in differs.items()]
            changed = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
            self._admin.incremental_alter_configs([changed], request_timeout=SECONDS)[changed].result()
            what += [f"{key} {now[key].value} -> {value}" for key, value in differs.items()]
        return TopicChange(name, "changed" if what else "unchanged", tuple(what))

    def _create(self, name: str, plan: TopicPlan) -> TopicChange:
        """Create a topic, and wait until the brokers name it."""
        new = NewTopic(name, plan.partitions, plan.replication, config=plan.settings())
        try:
            self._admin.create_topics([new], request_timeout=SECONDS)[name].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # created a moment ago, and not listed yet
                raise
        deadline = time.monotonic() + SECONDS
        while name not in self._admin.list_topics(timeout=SECONDS).topics and time.monotonic() < deadline:
            time.sleep(0.05)
        return TopicChange(name, "created")


def send_all(settings: KafkaSettings, messages: Iterable[Mapping[str, Any]]) -> int:
    """Send messages (`topic`, `key`, `value`, `headers`), and return their number when Kafka has confirmed all of them.

    Raises:
        Unavailable: it did not confirm one. Those before it are in Kafka.
    """
    failed: list[KafkaError] = []
    own = {"enable.idempotence": True, "acks": "all", "delivery.timeout.ms": 30_000, "message.max.bytes": 8_388_608}
    producer = Producer({**client_settings(settings), **own})

    def noted(error: KafkaError | None, _: Any) -> None:
        if error is not None:
            failed.append(error)

    sent = 0
    with translated(f"Sending to {settings.kafka_brokers}"):
        for message in messages:
            while not _took(producer, message, noted):
                producer.poll(0.1)
            producer.poll(0)
            sent += 1
        producer.flush(60)
    if failed:
        raise ours(f"Sending to {settings.kafka_brokers}", failed[0])
    return sent


def _took(producer: Producer, message: Mapping[str, Any], on_delivery: Callable[..., None]) -> bool:
    """Hand a message to the producer. False: its queue is full, until Kafka has confirmed some messages."""
    try:
        producer.produce(**message, on_delivery=on_delivery)
    except BufferError:
        return False
    return True


def send_dead_letters(settings: KafkaSettings, rows: Sequence[Mapping[str, Any]]) -> None:
    """Send rows of the table of dead letters to their topic, with all that is known of them in headers."""
    told = ("reason", "sentence", "topic", "partition", "offset", "tries", "received_at", "owner", "request_id")
    names = {"topic": "source-topic", "partition": "source-partition", "offset": "source-offset"}
    send_all(
        settings,
        (
            {
                "topic": rules.DEAD_LETTERS,
                "key": row["key"],
                "value": row["raw"],
                "headers": [
                    (names.get(name, name.replace("_", "-")), str(row[name]).encode())
                    for name in told
                    if row[name] is not None
                ],
            }
            for row in rows
        ),
    )
