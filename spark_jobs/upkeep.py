"""Brings the tables of a knowledge base to what the input says, in steps that can be killed anywhere and run again.

Order: quarantine, chunks, documents. The document table is the manifest of what was prepared, so it comes last; its
last commit notes the version of the chunk table that it belongs to. Where that note does not fit, a run was cut short
(or somebody else wrote), and the chunk table itself is asked what it holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from delta.tables import DeltaTable
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from spark_jobs import tables
from spark_jobs.examination import fingerprints
from spark_jobs.tables import Tables

_NOTE = "chunks_version"
_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"


@dataclass(frozen=True)
class Standing:
    """What the tables hold before a run: ids (with documents of an interrupted run), and hashes that are prepared."""

    first_run: bool
    ids: DataFrame | None
    known: NDArray[np.uint64]
    documents: int
    interrupted: bool


def standing(spark: SparkSession, at: Tables) -> Standing:
    """Look at the tables."""
    if not tables.exists(spark, at.documents) or not tables.exists(spark, at.chunks):
        return Standing(True, None, np.array([], dtype=np.uint64), 0, tables.exists(spark, at.chunks))
    documents = tables.read(spark, at.documents).select("document_id", "document_hash")
    interrupted = _noted_version(spark, at) != tables.version(spark, at.chunks)
    ids = documents.select("document_id")
    if interrupted:
        rows = tables.read(spark, at.chunks).select(f.col("source_document_id").alias("document_id"), "document_hash")
        documents = documents.intersect(rows.distinct())
        ids = ids.union(rows.select("document_id")).distinct()
    hashes = documents.select("document_hash").toArrow().column(0).to_pylist()
    return Standing(False, ids, fingerprints(hashes), len(hashes), interrupted)


@dataclass(frozen=True)
class Change:
    """What to write: rows to put (None: none) in the place of rows with the same ids, ids to take away (None: none)."""

    documents: DataFrame | None
    chunks: DataFrame | None
    gone: DataFrame | None


def apply(spark: SparkSession, at: Tables, change: Change, may_commit: Callable[[], None]) -> None:
    """Write chunks, then documents with the note. `may_commit` is asked before every commit and raises to stop."""
    _replace(spark, at.chunks, "source_document_id", change.chunks, change.gone, may_commit)
    spark.conf.set(_USER_METADATA, json.dumps({_NOTE: tables.version(spark, at.chunks)}))
    try:
        if change.documents is None and change.gone is None:
            may_commit()
            _append(tables.read(spark, at.documents).limit(0), at.documents)
        _replace(spark, at.documents, "document_id", change.documents, change.gone, may_commit)
    finally:
        spark.conf.unset(_USER_METADATA)


def keep_quarantine(spark: SparkSession, path: str, rows: DataFrame, may_commit: Callable[[], None]) -> bool:
    """Make the quarantine hold exactly these rows; False when it did already, and nothing was committed."""
    if _fingerprint(tables.read(spark, path)) == _fingerprint(rows):
        return False
    may_commit()
    stamped = rows.withColumn("processed_at", f.current_timestamp()).coalesce(1)
    stamped.write.format("delta").mode("overwrite").save(path)
    return True


def _replace(
    spark: SparkSession,
    path: str,
    key: str,
    rows: DataFrame | None,
    gone: DataFrame | None,
    may_commit: Callable[[], None],
) -> None:
    if gone is not None:
        may_commit()
        ids = gone.withColumnRenamed("document_id", key)
        table = DeltaTable.forPath(spark, path).alias("held")
        table.merge(ids.alias("gone"), f"held.{key} = gone.{key}").whenMatchedDelete().execute()
    if rows is not None:
        may_commit()
        if tables.read(spark, path).isEmpty():
            _append(rows, path)
        else:
            rows.write.format("delta").mode("overwrite").option("replaceUsing", key).save(path)


def _append(rows: DataFrame, path: str) -> None:
    rows.write.format("delta").mode("append").save(path)


def _noted_version(spark: SparkSession, at: Tables) -> int | None:
    noted = DeltaTable.forPath(spark, at.documents).history(1).select("userMetadata").first()[0]
    try:
        return int(json.loads(noted or "{}").get(_NOTE, -1))
    except (ValueError, AttributeError):
        return None


def _fingerprint(rows: DataFrame) -> tuple[int, int]:
    each = f.xxhash64("file", "line", "reason", "sentence", "raw")
    count, total = rows.agg(f.count("*"), f.sum(each.cast("decimal(38,0)"))).first()
    return int(count), int(total or 0)
