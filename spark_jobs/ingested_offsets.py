"""Which records of a topic a raw table holds: the offsets that each commit notes, together with the data.

In: a table. Out: `Progress`, and the note of the next commit. The table is the only checkpoint: a job that was killed
at any moment, on any machine, goes on exactly where the newest commit ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from mlflow_project.errors import Refused
from spark_jobs import tables
from spark_jobs.table_log import newest_version

SCHEMA = "switchyard.ingested/v1"
_MOST_COMMITS = 1_000


@dataclass(frozen=True)
class Progress:
    """By partition, the next offset to read. `topic_id` is the id that Kafka gave to the topic when it was created;
    None: the table has no record of any topic.
    """

    topic_id: str | None = None
    offsets: Mapping[int, int] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Grows with every record: the `txnVersion` of a commit."""
        return sum(self.offsets.values())

    def note(self) -> str:
        """The note of a commit whose data ends here."""
        return json.dumps({"schema": SCHEMA, **asdict(self)})


def read_progress(spark: SparkSession, table: str) -> Progress:
    """The progress that the newest commit of the ingestion notes. Commits of others, such as compactions, note none."""
    if newest_version(spark, table) is None:
        return Progress()
    history = spark.sql(f"DESCRIBE HISTORY delta.`{table}`").where("userMetadata IS NOT NULL")
    for (text,) in history.select("userMetadata").orderBy(f.desc("version")).limit(_MOST_COMMITS).toLocalIterator():
        found = _parsed(text)
        if found is not None:
            return found
    rows = tables.read(spark, table).groupBy("topic_id", "partition").agg((f.max("offset") + 1).alias("next")).collect()
    ids = {row.topic_id for row in rows}
    if len(ids) > 1:
        raise Refused(f"{table} has records of several topics and no note that says which one is read now.")
    return Progress(next(iter(ids), None), {row.partition: row.next for row in rows})


def start_of(
    topic: str,
    progress: Progress,
    topic_id: str,
    there: Mapping[int, tuple[int, int]],
    *,
    accept_recreated: bool,
    accept_lost: bool,
) -> dict[int, int]:
    """By partition, the offset at which to go on reading.

    Args:
        there: by partition, the first offset that Kafka still has, and the next one that it will write.

    Raises:
        Refused: the topic was deleted and created again, or Kafka deleted records that were never read.
    """
    if progress.topic_id not in (None, topic_id):
        if not accept_recreated:
            raise Refused(
                f"The topic {topic} was deleted and created again: its offsets begin at 0, and the table's end at "
                f"{dict(progress.offsets)}. If that was intended, give --accept-recreated: every record of the new "
                "topic is then read, and those with an event id that the table has are left out."
            )
        progress = Progress(topic_id)
    start = {}
    for partition, (first, end) in there.items():
        at = progress.offsets.get(partition, first if progress.topic_id is None or not progress.offsets else 0)
        if at > end:
            raise Refused(
                f"Partition {partition} of {topic} ends at offset {end}, and the table has read up to {at}: Kafka lost "
                "records, or another cluster answers. Check SWITCHYARD_KAFKA_BROKERS."
            )
        if at < first and not accept_lost:
            raise Refused(
                f"Kafka has deleted the offsets {at} to {first - 1} of partition {partition} of {topic} before they "
                "were read: its retention is too short, or this job stood still for too long. --accept-lost goes on "
                "without them."
            )
        start[partition] = max(at, first)
    return start


def end_of(start: Mapping[int, int], there: Mapping[int, tuple[int, int]], most: int) -> dict[int, int]:
    """By partition, the offset before which one batch of about `most` records ends. Partitions get equal shares."""
    waiting = {partition: there[partition][1] - at for partition, at in start.items()}
    share = max(1, most // max(1, sum(1 for number in waiting.values() if number > 0)))
    return {partition: at + min(waiting[partition], share) for partition, at in start.items()}


def _parsed(text: str) -> Progress | None:
    try:
        noted = json.loads(text)
        if not isinstance(noted, dict) or noted.get("schema") != SCHEMA:
            return None
        return Progress(noted["topic_id"], {int(number): int(at) for number, at in noted["offsets"].items()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
