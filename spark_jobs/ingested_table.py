"""Writes one batch of a topic to its raw table, and its dead letters to theirs. Each record is written once.

In: the records of an exact range of offsets. Out: one commit, which holds the rows and notes where the range ends. A
batch that was cut short changes nothing in the raw table, and is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.storagelevel import StorageLevel

from mlflow_project.rules.ingestion import Reason, Stream
from spark_jobs import tables
from spark_jobs.ingested_offsets import Progress
from spark_jobs.ingested_rows import checked_rows
from spark_jobs.table_log import newest_version

DEAD_TABLE = "dead-letters"
_PLACE = ["partition", "offset"]
_CONFLICT = "$.id was used before, by a record with another content"


@dataclass(frozen=True)
class Batch:
    """What became of a batch. `slowest` is the longest time in seconds from a record's acceptance to its commit."""

    written: int = 0
    duplicates: int = 0
    dead: Mapping[str, int] = field(default_factory=dict)
    slowest: float | None = None


@dataclass(frozen=True)
class Target:
    """Where a topic goes. `window_days`: an id that comes again within so many days is recognised."""

    topic: str
    stream: Stream
    table: str
    dead_table: str
    window_days: float


SendDead = Callable[[list[dict[str, Any]]], None]
"""Sends dead letters to their topic, and returns when Kafka has them."""


def write_batch(
    spark: SparkSession,
    target: Target,
    records: DataFrame,
    end: Progress,
    may_commit: Callable[[], None],
    send_dead: SendDead,
) -> Batch:
    """Write the records of one batch. `end` is where the batch ends.

    Raises:
        Refused: another writer holds the table; nothing was committed.
    """
    rows = _with_times(checked_rows(records, target.stream)).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        found = rows.groupBy("reason").agg(f.count("*").alias("n"), f.min("received").alias("first")).collect()
        taken = next((row for row in found if row.reason is None), None)
        dead = {row.reason: row.n for row in found if row.reason is not None}
        late = _late(spark, target, rows).persist()
        counts = {row.reason: row.n for row in late.groupBy("reason").agg(f.count("*").alias("n")).collect()}
        good = rows.where("reason IS NULL")
        if counts:
            good = good.join(late.select(*_PLACE), _PLACE, "left_anti")
        if conflicts := counts.pop(Reason.CONFLICTING_ID.value, 0):
            dead[Reason.CONFLICTING_ID.value] = conflicts
        if dead:
            may_commit()
            _bury(spark, target, _dead_rows(rows, late), end, send_dead)
        may_commit()
        _append(good, target, end)
        done = spark.sql("SELECT unix_micros(current_timestamp()) AS now").first().now / 1e6
        duplicates = counts.get("duplicate", 0)
        written = (taken.n if taken else 0) - duplicates - conflicts
        late.unpersist()
        return Batch(written, duplicates, dead, done - taken.first.timestamp() if taken else None)
    finally:
        rows.unpersist()


def _with_times(rows: DataFrame) -> DataFrame:
    received = f.coalesce(f.try_to_timestamp("received_at"), "timestamp")
    return rows.withColumn("received", received).withColumn("value_hash", f.xxhash64("raw"))


def _late(spark: SparkSession, target: Target, rows: DataFrame) -> DataFrame:
    """The places of records that come again: `duplicate`, or `conflicting_id` if their content differs."""
    ids = rows.where("reason IS NULL").select("event_id", "value_hash", *_PLACE)
    first = f.min(f.struct(*_PLACE, "value_hash")).alias("first")
    several = ids.groupBy("event_id").agg(first, f.count("*").alias("n")).where("n > 1").select("event_id", "first")
    again = ids.join(several, "event_id").where("struct(partition, offset) != struct(first.partition, first.offset)")
    late = again.select(*_PLACE, (f.col("value_hash") != f.col("first.value_hash")).alias("differs"))
    if newest_version(spark, target.table) is not None:
        since = f.timestamp_seconds(f.unix_seconds(f.current_timestamp()) - int(target.window_days * 86_400))
        known = tables.read(spark, target.table).where(f.col("written_at") >= since)
        known = known.select("event_id", f.col("value_hash").alias("known_hash"))
        before = ids.join(known, "event_id")
        differs = (f.col("value_hash") != f.col("known_hash")).alias("differs")
        late = late.unionByName(before.select(*_PLACE, differs))
    reason = f.when(f.min("differs"), f.lit(Reason.CONFLICTING_ID.value)).otherwise(f.lit("duplicate"))
    return late.groupBy(*_PLACE).agg(reason.alias("reason"))


def _append(good: DataFrame, target: Target, end: Progress) -> None:
    """Append the rows and note the end of the batch, in one commit."""
    rows = good.select(
        "event_id",
        "key",
        f.col("raw").cast("string").alias("value"),
        f.col("raw").isNull().alias("deleted"),
        "topic",
        f.lit(end.topic_id).alias("topic_id"),
        *_PLACE,
        f.col("received").alias("received_at"),
        f.current_timestamp().alias("written_at"),
        *("schema_version", "owner", "request_id", "trace", "value_hash"),
    )
    writer = tables.writer(rows).option("userMetadata", end.note()).option("delta.checkpointInterval", "50")
    writer = writer.option("txnAppId", f"{target.topic}/{end.topic_id}").option("txnVersion", end.number)
    writer.mode("append").save(target.table)


def _dead_rows(rows: DataFrame, late: DataFrame) -> DataFrame:
    conflicting = late.where(f.col("reason") == Reason.CONFLICTING_ID.value).select(*_PLACE)
    again = rows.where("reason IS NULL").join(conflicting, _PLACE, "left_semi")
    said = again.withColumn("reason", f.lit(Reason.CONFLICTING_ID.value)).withColumn("sentence", f.lit(_CONFLICT))
    return rows.where("reason IS NOT NULL").unionByName(said)


def _bury(spark: SparkSession, target: Target, dead: DataFrame, end: Progress, send_dead: SendDead) -> None:
    """Add dead letters to their table, each once, and send them to their topic. The topic may get one twice, if the job
    is killed in between."""
    rows = dead.select(
        "topic",
        f.lit(end.topic_id).alias("topic_id"),
        *_PLACE,
        f.col("raw_key").alias("key"),
        *("raw", "reason", "sentence", "tries", "event_id", "schema_version", "received_at"),
        *("owner", "request_id", "trace"),
        f.current_timestamp().alias("at"),
        f.lit(False).alias("redriven"),
    )
    if newest_version(spark, target.dead_table) is not None:
        known = tables.read(spark, target.dead_table).where(f.col("topic_id") == end.topic_id).select("topic", *_PLACE)
        rows = rows.join(known, ["topic", *_PLACE], "left_anti").select(*tables.DEAD_LETTERS.names)
    rows = rows.persist()
    try:
        found = [row.asDict() for row in rows.toLocalIterator()]
        if found:
            send_dead(found)
            tables.writer(rows).mode("append").save(target.dead_table)
    finally:
        rows.unpersist()
