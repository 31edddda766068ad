"""Reads a raw table of ingestion as an input of text preparation: the newest row of each key, and what was deleted.

In: the table, and a `Seen` that says which of its rows an earlier preparation took. Out: the rows that are new, the ids
of the documents that tombstones delete, and the `Seen` of the next preparation. Rows are told apart by their offsets in
Kafka and not by Delta versions, so compactions and VACUUM change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from spark_jobs import tables
from spark_jobs.tables import INGESTED

_STATE = ("key", "deleted", "topic_id", "partition", "offset", "received_at", "written_at")
"""The columns that say which row of a key is the newest, and whether it is a tombstone."""


@dataclass(frozen=True)
class Seen:
    """The rows of a raw table that a preparation has taken.

    `table_id` is the id that Delta gave to the table. `offsets`: by the id of the topic and the partition, the offset
    after the last row taken.
    """

    table_id: str = ""
    version: int = -1
    offsets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @classmethod
    def parse(cls, noted: Any) -> Seen:
        """Read what a commit noted. Anything else is read as "no row was taken", so all rows are taken again."""
        try:
            offsets = {str(topic): {str(n): int(at) for n, at in of.items()} for topic, of in noted["offsets"].items()}
            return cls(str(noted["table_id"]), int(noted["version"]), offsets)
        except (KeyError, TypeError, ValueError, AttributeError):
            return cls()


@dataclass(frozen=True)
class Ingested:
    """The rows of a raw table that are new since an earlier preparation.

    `rows` has the columns `value, file, block` of a raw row, and `deleted` the column `document_id`. `new` are the rows
    of the table behind both, and `before` says which rows are left out.
    """

    table: str
    version: int
    rows: DataFrame
    deleted: DataFrame
    new: DataFrame
    before: Seen

    def seen(self) -> Seen:
        """The rows that are taken with these; `before` if no row is new. Reads the offsets of the new rows."""
        ends = self.new.groupBy("topic_id", "partition").agg((f.max("offset") + 1).alias("next")).collect()
        offsets = _merged(self.before.offsets, ends)
        return Seen(self.before.table_id, self.version, offsets) if ends else self.before


def is_ingested(table: DataFrame) -> bool:
    """Whether a table is a raw table of ingestion, whose column `value` holds the JSON of each record."""
    return set(INGESTED.names) <= set(table.columns)


def rows_since(spark: SparkSession, table: str, seen: Seen) -> Ingested:
    """The newest row of each key among the rows that `seen` does not count, at the newest version of the table."""
    version = _version(spark, table)
    table_id = str(spark.sql(f"DESCRIBE DETAIL delta.`{table}`").select("id").first()[0])
    if seen.table_id != table_id:  # the table was deleted and made again
        seen = Seen(table_id)
    new = tables.read(spark, table, version).where(_is_new(seen))
    newest = newest_rows(new, ("value", *_STATE, "topic"))
    # The name of a row is its place in Kafka, as of a dead letter: it stays the same in each pass and each run.
    place = f.concat_ws("/", "topic", "partition", "offset").alias("file")
    values = newest.where("NOT deleted").select(f.col("value").cast("binary").alias("value"), place)
    return Ingested(
        table,
        -1 if version is None else version,
        values.withColumn("block", f.lit(0).cast("long")),
        newest.where("deleted").select(f.col("key").alias("document_id")),
        new,
        seen,
    )


def newest_rows(rows: DataFrame, columns: tuple[str, ...]) -> DataFrame:
    """The newest row of each key; that of a deleted document has `deleted` true.

    Offsets order the rows of one partition. Rows of several partitions, which have one key only if the topic got more
    partitions or was created again, are ordered by the time of their commit and then of their arrival.
    """
    last = f.max_by(f.struct(*columns), "offset").alias("last")
    of_partitions = rows.groupBy("key", "topic_id", "partition").agg(last).select("last.*")
    order = f.struct("written_at", "received_at", "partition", "offset")
    return of_partitions.groupBy("key").agg(f.max_by(f.struct(*columns), order).alias("newest")).select("newest.*")


def documents_held(spark: SparkSession, seen: Mapping[str, Seen]) -> DataFrame | None:
    """The ids (`document_id`) of all documents that these raw tables hold now; None if none of the tables exists."""
    found = None
    for table in sorted(seen):
        if _version(spark, table) is None:
            continue
        newest = newest_rows(tables.read(spark, table).select(*_STATE), _STATE)
        ids = newest.where("NOT deleted").select(f.col("key").alias("document_id"))
        found = ids if found is None else found.union(ids)
    return None if found is None else found.distinct()


def _version(spark: SparkSession, table: str) -> int | None:
    from spark_jobs.table_log import newest_version  # not at import: Spark's workers need no delta-rs

    return newest_version(spark, table)


def _is_new(seen: Seen) -> Any:
    """The condition of rows that are new. It compares columns with constants, so Delta can skip files."""
    topic = f.col("topic_id")
    condition = ~topic.isin(list(seen.offsets)) if seen.offsets else f.lit(True)
    for name, offsets in seen.offsets.items():
        ends = {int(number): at for number, at in offsets.items()}
        rest = f.col("partition") > max(ends, default=-1)
        for number in range(max(ends, default=-1) + 1):
            rest = rest | ((f.col("partition") == number) & (f.col("offset") >= ends.get(number, 0)))
        condition = condition | ((topic == name) & rest)
    return condition


def _merged(before: Mapping[str, Mapping[str, int]], ends: list[Any]) -> dict[str, dict[str, int]]:
    found = {topic: dict(offsets) for topic, offsets in before.items()}
    for row in ends:
        found.setdefault(row.topic_id, {})[str(row.partition)] = int(row.next)
    return found
