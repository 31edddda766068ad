"""Raw events -> the Delta tables of a model's features. Tables only grow, and a run adds only what is new.

Beside the feature table `<table>` lie `<table>_events` and `<table>_labels` (all accepted versions of all rows, with
the time at which each was known), and `<table>_quarantine` (rejected lines with their reasons).

`known_at` is what the source says, with one exception: a row that arrives in a later run and claims to have been known
before the newest row that the table holds already. It gets the time of the run. Otherwise a backfill could change what
earlier training sets were allowed to see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from mlflow_project.errors import InvalidData, Refused
from mlflow_project.rules.features.history import Versions, history
from mlflow_project.training.feature_file import FeatureFile, Source
from spark_jobs import tables
from spark_jobs.event_rows import accepted, event_rows, raw_lines, rejected
from spark_jobs.table_log import newest_version


class ExpectationFailed(Refused):
    """A run whose input fails an expectation of the whole. `report` holds the counts and the failures."""

    def __init__(self, failed: list[str], report: dict[str, Any]) -> None:
        super().__init__(
            "The input does not satisfy the expectations; only the quarantine was written.\n- " + "\n- ".join(failed)
        )
        self.report: Mapping[str, Any] = {**report, "failed_expectations": failed}


@dataclass
class Arrived:
    """What a run found new in one source. `stamped`: rows that got the time of the run as their known time."""

    name: str
    table: str
    rows: DataFrame
    rejects: DataFrame
    new: int
    rejected: int
    stamped: int
    held: int
    source_version: int | None
    reasons: dict[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, Any]:
        """For the report."""
        return {"new": self.new, "rejected": self.rejected, "known_at_replaced": self.stamped, "reasons": self.reasons}


@contextmanager
def arrived(spark: SparkSession, name: str, source: Source, declared: FeatureFile, now: int) -> Iterator[Arrived]:
    """Read a source and find what its table does not hold. Writes nothing."""
    table, quarantine = f"{declared.table}_{name}", f"{declared.table}_quarantine"
    lines, version = raw_lines(spark, source.path)
    rows = event_rows(lines, source, now).persist()
    fresh = accepted(rows, source)
    try:
        rejects, held, newest = rejected(rows), 0, None
        if newest_version(spark, table) is not None:
            there = tables.read(spark, table)
            held, newest = there.agg(f.count("*"), f.max(f.unix_micros("known_at"))).first()
            fresh = fresh.join(there.select(f.col("claimed_digest").alias("row_digest")), "row_digest", "left_anti")
        if newest_version(spark, quarantine) is not None:
            rejects = rejects.join(tables.read(spark, quarantine).select("row_digest"), "row_digest", "left_anti")
        fresh = _stamped(fresh, newest, now).persist()
        rejects = rejects.withColumn("source", f.lit(name)).withColumn("quarantined_at", f.timestamp_micros(f.lit(now)))
        reasons = {row["reason"]: row["count"] for row in rejects.groupBy("reason").count().collect()}
        new, stamped = fresh.agg(f.count("*"), f.count_if("stamped")).first()
        kept = fresh.drop("stamped").withColumnRenamed("row_digest", "claimed_digest")
        yield Arrived(
            name,
            table,
            kept,
            rejects,
            new,
            sum(reasons.values()),
            stamped,
            held,
            version,
            dict(sorted(reasons.items())),
        )
    finally:
        fresh.unpersist()
        rows.unpersist()


def _stamped(fresh: DataFrame, newest: int | None, now: int) -> DataFrame:
    """Replace known times that a later run may not claim any more."""
    late = f.lit(False) if newest is None else f.unix_micros("known_at") <= newest
    stamp = f.timestamp_micros(f.lit(max(now, (newest or 0) + 1)))
    return fresh.withColumn("stamped", late).withColumn("known_at", f.when(late, stamp).otherwise(f.col("known_at")))


def check(found: list[Arrived], declared: FeatureFile) -> None:
    """Raises:
    ExpectationFailed: too many lines are rejected, or there are too few rows.
    """
    failed = []
    for one in found:
        read, most = one.new + one.rejected, declared.expectations.max_rejected or 0.0
        if one.rejected > most * read:
            failed.append(
                f"{one.name}: {one.rejected} of {read} new lines are rejected, and at most {most:.2%} may be."
            )
        if one.new + one.held < declared.expectations.min_rows:
            failed.append(
                f"{one.name}: there are {one.new + one.held} rows, and at least {declared.expectations.min_rows} "
                "are expected."
            )
    if failed:
        raise ExpectationFailed(failed, {one.name: one.counts() for one in found})


def append_features(spark: SparkSession, declared: FeatureFile) -> int:
    """Add the feature rows that the events' table allows and the feature table does not hold. Returns their number.

    Raises:
        InvalidData: the feature table was made with another declaration of events or features.
    """
    newest = None
    if newest_version(spark, declared.table) is not None:
        made_with = _note(spark, declared.table)
        if made_with != declared.digest:
            raise InvalidData(
                f"{declared.table} was made with other events or features than features.yaml declares now: name "
                "another table there, or give --rebuild to compute all rows anew."
            )
        newest = tables.read(spark, declared.table).agg(f.max(f.unix_micros("known_at"))).first()[0]
    return _write_features(spark, declared, newest, "append")


def rebuild_features(spark: SparkSession, declared: FeatureFile) -> int:
    """Compute all feature rows anew, as a new version of the table. Returns their number."""
    return _write_features(spark, declared, None, "overwrite")


def feature_rows(events: DataFrame, declared: FeatureFile, after: int | None = None) -> DataFrame:
    """The feature rows of these events, those with a known time after `after` (microseconds; None: all)."""
    used = sorted({one.of for one in declared.features.values() if one.of is not None})
    needed = events.select(
        "id",
        "entity",
        f.unix_micros("event_time").alias("event_time"),
        f.unix_micros("known_at").alias("known_at"),
        f.col("claimed_digest").alias("tie"),
        *used,
    )

    def history_of_one(rows: pd.DataFrame) -> pd.DataFrame:
        return _history(rows, declared, used, after)

    computed = needed.groupBy("entity").applyInPandas(history_of_one, tables.spark_schema(_history_columns(declared)))
    as_times = [f.timestamp_micros(name).alias(name) for name in ("event_time", "known_at")]
    values = [f.when(~f.isnan(name), f.col(name)).alias(name) for name in declared.features]
    return computed.select("entity", *as_times, *values)


def _history_columns(declared: FeatureFile) -> pa.Schema:
    keys = {"entity": pa.string(), "event_time": pa.int64(), "known_at": pa.int64()}
    return pa.schema({**keys, **dict.fromkeys(declared.features, pa.float64())})


def _history(rows: pd.DataFrame, declared: FeatureFile, used: list[str], after: int | None) -> pd.DataFrame:
    versions = Versions(
        rows["id"].tolist(),
        rows["event_time"].to_numpy(),
        rows["known_at"].to_numpy(),
        rows["tie"].tolist(),
        {name: [None if pd.isna(value) else value for value in rows[name]] for name in used},
    )
    found = history(versions, declared.aggregates(), after)
    keys = {"entity": rows["entity"].iloc[0], "event_time": found.event_times, "known_at": found.known}
    return pd.DataFrame({**keys, **dict(zip(declared.features, found.values.T, strict=True))})


def _write_features(spark: SparkSession, declared: FeatureFile, newest: int | None, mode: str) -> int:
    events = tables.read(spark, f"{declared.table}_events")
    if newest is not None:
        changed = events.where(f.unix_micros("known_at") > newest).select("entity").distinct()
        events = events.join(changed, "entity", "left_semi")
    rows = feature_rows(events, declared, newest).persist()
    try:
        count = int(rows.count())
        if count or newest is None:
            writer = tables.writer(rows).mode(mode).option("userMetadata", declared.digest)
            writer.option("overwriteSchema", str(mode == "overwrite").lower()).save(declared.table)
        return count
    finally:
        rows.unpersist()


def _note(spark: SparkSession, table: str) -> str | None:
    """What the newest commit that left a note says."""
    noted = DeltaTable.forPath(spark, table).history().where("userMetadata IS NOT NULL").orderBy(f.desc("version"))
    row = noted.select("userMetadata").first()
    return None if row is None else str(row[0])
