"""Events of live traffic -> Delta tables of answers and of feedback, each event exactly once.

    spark-submit spark_jobs/collect_feedback.py [<events>] [<output>] [--since YYYY-MM-DD]

In: JSON lines that followers uploaded, `s3a://raw-data-bucket/events/day=…/*.jsonl`. Out: new rows in
`<output>_answers` and `<output>_feedback`; `source_file` names the object of a row. `<output>_objects` lists objects of
which both tables contain all rows; the job reads only days with other objects. It writes this list last and adds no
object twice to a table, so a run completes an earlier one that was cut short.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DoubleType,
    LongType,
    StringType,
    StructField,
    StructType,
)

from mlflow_project.domain.event import EVENT_SCHEMA, AnswerEvent, FeedbackEvent
from mlflow_project.errors import InvalidData
from spark_jobs import spark_internals, tables
from spark_jobs.lease import one_writer
from spark_jobs.program import Arguments, run
from spark_jobs.session import spark_job
from spark_jobs.table_log import newest_version

USAGE = "collect_feedback.py [<events>] [<output>] [--since YYYY-MM-DD]"
EVENTS = "s3a://raw-data-bucket/events"
OUTPUT = "s3a://curated-data-bucket/live"

_TYPES: dict[str, DataType] = {
    "str": StringType(),
    "float": DoubleType(),
    "int": LongType(),
    "bool": BooleanType(),
    "Arm": StringType(),
    "tuple[str, ...]": ArrayType(StringType()),
}


def columns(kind: type[AnswerEvent] | type[FeedbackEvent]) -> StructType:
    """The columns of a kind of event: the fields of its dataclass."""
    return StructType([StructField(one.name, _TYPES[str(one.type).removesuffix(" | None")]) for one in fields(kind)])


def collect(spark: SparkSession, events: str, output: str, since: str | None = None) -> dict[str, Any]:
    """Append new events to both tables. Returns the number of rows added to each.

    Raises:
        InvalidData: a line of an object is no event. Refused: another writer holds the lease on one of the tables.
    """
    root = tables.address(output)
    new = _new_objects(spark, events, f"{root}_objects", since)
    lines = _lines(spark, events, new)
    done: dict[str, Any] = {}
    for kind, name in ((AnswerEvent, "answers"), (FeedbackEvent, "feedback")):
        table = f"{root}_{name}"
        done[name] = 0 if lines is None else _append(spark, lines, kind, table)
        done[f"{name}_version"] = newest_version(spark, table)
    if new:
        with one_writer(f"{root}_objects") as still_ours:
            still_ours()
            tables.writer(_named(spark, new)).mode("append").save(f"{root}_objects")
    return done


def _new_objects(spark: SparkSession, events: str, table: str, since: str | None) -> list[str]:
    """The objects, as `day=…/….jsonl`, that the list lacks, from the day `since` on."""
    known: set[str] = set()
    if newest_version(spark, table) is not None:
        known = {row.source_file for row in tables.read(spark, table).select("source_file").collect()}
    days = [name for name in spark_internals.names(spark, events) if name >= f"day={since or ''}"]
    found = (f"{day}/{name}" for day in days for name in spark_internals.names(spark, f"{events}/{day}"))
    return sorted(one for one in found if one not in known)


def _lines(spark: SparkSession, events: str, objects: Sequence[str]) -> DataFrame | None:
    """Every line of these objects, with the name of its object; None without objects."""
    if not objects:
        return None
    days = sorted({one.split("/")[0] for one in objects})
    source = f.regexp_replace("_metadata.file_path", "^.*/events/", "")
    found = spark.read.text([f"{events}/{day}" for day in days]).withColumn("source_file", source)
    return found.join(f.broadcast(_named(spark, objects)), "source_file", "left_semi")


def _named(spark: SparkSession, objects: Sequence[str]) -> DataFrame:
    return spark.createDataFrame([(one,) for one in objects], "source_file string")


def _append(spark: SparkSession, lines: DataFrame, kind: type[AnswerEvent] | type[FeedbackEvent], table: str) -> int:
    with one_writer(table) as still_ours:
        there = newest_version(spark, table) is not None
        if there:
            known = tables.read(spark, table).select("source_file").distinct()
            lines = lines.join(f.broadcast(known), "source_file", "left_anti")
        rows = parsed(lines, kind).cache()
        try:
            count = int(rows.count())
            _check(rows)
            if count or not there:
                still_ours()
                wider = tables.writer(rows.drop("schema", "value")).option("mergeSchema", "true")  # a newer release
                wider.partitionBy("day").mode("append").save(table)
            return count
        finally:
            rows.unpersist()


def parsed(lines: DataFrame, kind: type[AnswerEvent] | type[FeedbackEvent]) -> DataFrame:
    """The events of one kind, one row per `event_id`. Lines that are no events are kept, with a null `schema`."""
    envelope = StructType([StructField("schema", StringType()), StructField("kind", StringType()), *columns(kind)])
    event = lines.select("value", "source_file", f.from_json("value", envelope).alias("event"))
    flat = event.select("value", "source_file", "event.*")
    wanted = flat.where((f.col("kind") == kind.kind) | f.col("kind").isNull())
    day = f.to_date(f.substring("at", 1, 10))
    return wanted.drop("kind").dropDuplicates(["event_id"]).withColumn("day", day)


def _check(rows: DataFrame) -> None:
    broken = rows.where(f.col("schema").isNull() | (f.col("schema") != EVENT_SCHEMA) | f.col("day").isNull()).first()
    if broken is not None:
        raise InvalidData(
            f"{broken['source_file']} has a line that is no event of {EVENT_SCHEMA}. Look at it, and move the object "
            "elsewhere if it does not belong there. The tables are as they were."
        )


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("events", nargs="?", default=EVENTS)
    parser.add_argument("output", nargs="?", default=OUTPUT)
    parser.add_argument("--since", metavar="YYYY-MM-DD", help="read only objects uploaded from this day on")
    return parser.parse_args(argv)


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Collect; the result as JSON-ready data."""
    with spark_job("collect_feedback", f"Collecting {options.events}") as spark:
        return collect(spark, options.events, options.output, options.since)


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    return run(job, options, f"{options.events} -> {options.output}_answers, {options.output}_feedback")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
