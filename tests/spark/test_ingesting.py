"""Topics of Kafka become raw tables: each record once, whatever happens to the job."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from pyspark.sql import SparkSession

from mlflow_project.adapters.kafka import Cluster, client_settings, send_all, send_dead_letters
from mlflow_project.adapters.schema_folder import TopicPlan
from mlflow_project.dead_letters import DeadLetters
from mlflow_project.errors import Refused
from mlflow_project.rules import ingestion as rules
from mlflow_project.rules.ingestion import Stream
from mlflow_project.settings import KafkaSettings, StoreSettings, load
from mlflow_project.telemetry.meters import Meters
from spark_jobs import tables
from spark_jobs.ingested_offsets import Progress
from spark_jobs.ingested_table import DEAD_TABLE, Target, write_batch
from spark_jobs.stream_ingest import arguments, ingest, records_between
from tests.attacks.test_ingestion import POISON
from tests.conftest import ROOT, RunningStack

SCHEMA = {"type": "object", "required": ["id", "n"], "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}}


class Topic:
    """A topic with two partitions, a stream of its own, and the folder of its tables."""

    schemas: Path

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.name, self.place = spark, f"events.t{uuid.uuid4().hex[:8]}", str(folder / "tables")
        self.create()

    def create(self) -> None:
        Cluster(load(KafkaSettings)).apply({self.name: TopicPlan(partitions=2)})

    def send(self, *values: Any, headers: list[tuple[str, bytes]] | None = None, key: bytes | None = None) -> None:
        found = [each if isinstance(each, bytes) or each is None else json.dumps(each).encode() for each in values]
        message = {"topic": self.name, "headers": headers or []}
        send_all(load(KafkaSettings), [{**message, "value": value, "key": key} for value in found])

    def ingest(self, *more: str) -> dict[str, Any]:
        options = arguments([self.name, "--once", "--tables", self.place, *more])
        found: dict[str, Any] = ingest(self.spark, options, Meters())[self.name]
        return found

    def rows(self, table: str = "") -> list[Any]:
        return tables.read(self.spark, f"{self.place}/{table or self.name}").orderBy("partition", "offset").collect()


@pytest.fixture
def topic(spark: SparkSession, kafka: RunningStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Topic]:
    made = Topic(spark, tmp_path)
    schemas = tmp_path / "schemas"
    shutil.copytree(ROOT / "schemas", schemas)
    folder = schemas / "events" / made.name.removeprefix("events.")
    folder.mkdir()
    (folder / "v1.json").write_text(json.dumps(SCHEMA))
    made.schemas = folder
    monkeypatch.setenv("SWITCHYARD_SCHEMAS", str(schemas))
    return made


def test_each_record_is_written_once_and_broken_ones_become_dead_letters(topic: Topic) -> None:
    topic.send(*({"id": f"{n}", "n": n} for n in range(20)), {"id": "3", "n": 3})
    first = topic.ingest()
    assert (first["written"], first["duplicates"]) == (20, 1)
    headers = [(rules.REQUEST_ID, b"r-1"), (rules.OWNER, b"team"), (rules.RECEIVED_AT, b"2026-11-30T14:03:07.123Z")]
    topic.send({"id": "20", "n": 20}, {"id": "4", "n": 4}, headers=headers)
    topic.send({"id": "5", "n": 99}, *(raw for raw, _ in POISON.values()))
    topic.send({"id": "v", "n": 1}, headers=[(rules.SCHEMA_VERSION, b"7")])
    again = topic.ingest()
    assert (again["written"], again["duplicates"], again["dead_letters"]) == (1, 1, len(POISON) + 2)
    rows = topic.rows()
    assert sorted(int(row.event_id) for row in rows) == list(range(21))
    newest = next(row for row in rows if row.event_id == "20")
    assert (newest.request_id, newest.owner, newest.value) == ("r-1", "team", '{"id": "20", "n": 20}')
    dead = topic.rows(DEAD_TABLE)
    assert {row.reason for row in dead} == {reason.value for _, reason in POISON.values()} | {
        "conflicting_id",
        "unknown_version",
    }
    assert {row.raw for row in dead} >= {raw for raw, _ in POISON.values()}
    letters = DeadLetters(load(StoreSettings), load(KafkaSettings), f"{topic.place}/{DEAD_TABLE}")
    assert len(letters.open({})) == len(dead)
    (topic.schemas / "v7.json").write_text(json.dumps(SCHEMA))
    [sent] = letters.redrive({"reason": "unknown_version"})
    assert [letter.id for letter in letters.redrive({"topic": topic.name, "reason": "not_utf8"})]
    assert sent.id not in {letter.id for letter in letters.open({})}
    last = topic.ingest()
    assert (last["written"], last["dead_letters"]) == (1, 1)
    assert [letter.row["tries"] for letter in letters.open({"reason": "not_utf8"})] == [1]
    assert topic.ingest()["written"] == 0


def test_a_job_that_is_cut_short_before_its_commit_loses_and_doubles_nothing(topic: Topic) -> None:
    topic.send(*({"id": f"{n}", "n": n} for n in range(10)), b"{")
    commits: list[int] = []

    def cut_short() -> None:
        commits.append(1)
        if len(commits) == 2:  # the dead letters are written, and the rows are not
            raise KeyboardInterrupt

    settings = load(KafkaSettings)
    partition = Cluster(settings).offsets(topic.name)
    stream = Stream(topic.name, {1: SCHEMA})
    target = Target(topic.name, stream, f"{topic.place}/{topic.name}", f"{topic.place}/{DEAD_TABLE}", 14)
    end = Progress(Cluster(settings).topic_id(topic.name), {number: last for number, (_, last) in partition.items()})
    records = records_between(topic.spark, settings, topic.name, dict.fromkeys(partition, 0), end.offsets)
    with pytest.raises(KeyboardInterrupt):
        write_batch(topic.spark, target, records, end, cut_short, lambda rows: send_dead_letters(settings, rows))
    topic.send({"id": "10", "n": 10}, b"[")
    topic.ingest("--compact-after", "1")
    topic.send({"id": "11", "n": 11})
    topic.ingest("--compact-after", "1")
    assert sorted(int(row.event_id) for row in topic.rows()) == list(range(12))
    history = topic.spark.sql(f"DESCRIBE HISTORY delta.`{topic.place}/{topic.name}`").select("operation").collect()
    assert [row.operation for row in history] == ["OPTIMIZE", "WRITE", "WRITE"], "two jobs made two commits"
    assert len(topic.rows(DEAD_TABLE)) == 2


def test_a_topic_that_was_created_again_is_refused_until_somebody_accepts_it(topic: Topic) -> None:
    topic.send(*({"id": f"{n}", "n": n} for n in range(5)))
    topic.ingest()
    admin = AdminClient(client_settings(load(KafkaSettings)))
    admin.delete_topics([topic.name])[topic.name].result()
    topic.create()
    topic.send({"id": "0", "n": 0}, {"id": "5", "n": 5})
    with pytest.raises(Refused, match="deleted and created again"):
        topic.ingest()
    found = topic.ingest("--accept-recreated")
    assert (found["written"], found["duplicates"]) == (1, 1)
    assert sorted(int(row.event_id) for row in topic.rows()) == list(range(6))
