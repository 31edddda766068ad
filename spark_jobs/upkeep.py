"""Brings the tables of a knowledge base to what the input says, in steps that can be killed anywhere and run again.

Order: quarantine, chunks, documents. The document table is the manifest of what was prepared, so it comes last; each of
its commits notes the version of the chunk table that it belongs to. Where that note does not fit, a run was cut short
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
from pyspark.storagelevel import StorageLevel

from mlflow_project.errors import InvalidData, NotFound
from spark_jobs import delta_log, tables
from spark_jobs.examination import fingerprints
from spark_jobs.tables import Tables

_NOTE = "chunks_version"

MayCommit = Callable[[], None]
"""Asked before every commit; raises to stop."""


@dataclass(frozen=True)
class Standing:
    """What the tables hold before a run: ids (None: no table yet), and the fingerprints of what is prepared already.

    `interrupted`: the tables do not fit together, so they must be written even where the input did not change.
    """

    held: DataFrame | None
    known: NDArray[np.uint64]
    interrupted: bool = False


@dataclass(frozen=True)
class Change:
    """Rows to put in the place of rows with the same ids, and ids to take away; None where there are none."""

    documents: DataFrame | None
    chunks: DataFrame | None
    gone: DataFrame | None


def standing(spark: SparkSession, at: Tables, splitter: str) -> Standing:
    """Look at the tables.

    Raises:
        InvalidData: they were made with another splitter.
    """
    documents_version, chunks_version = delta_log.newest(spark, at.documents), delta_log.newest(spark, at.chunks)
    if chunks_version is None:
        return Standing(None, fingerprints([]))
    prepared = _chunked(spark, at) if documents_version is None else _documented(spark, at)
    made_with = next((row[0] for row in prepared.select("splitter").limit(1).collect()), splitter)
    if made_with != splitter:
        raise InvalidData(
            f"{at.chunks} was made with splitter {made_with!r}, and this run asks for {splitter!r}: chunks of two "
            "kinds do not mix. Use the same size, overlap and unit, or another output path."
        )
    fits = documents_version is not None and _noted(spark, at, documents_version) == chunks_version
    held, known = prepared.select("document_id"), prepared.select("document_hash")
    if not fits:
        chunked = _chunked(spark, at)
        held = held.union(chunked.select("document_id")).distinct()
        known = known.limit(0) if documents_version is None else known.intersect(chunked.select("document_hash"))
    return Standing(held, fingerprints(known.toArrow().column(0).to_pylist()), not fits)


def apply(spark: SparkSession, at: Tables, change: Change, may_commit: MayCommit) -> None:
    """Write chunks, then documents with the note."""
    _replace(spark, at.chunks, "source_document_id", change.chunks, change.gone, may_commit)
    spark.conf.set(delta_log.NOTE, json.dumps({_NOTE: delta_log.newest(spark, at.chunks)}))
    try:
        if change.documents is None and change.gone is None:
            may_commit()
            _append(tables.empty(spark, tables.DOCUMENTS), at.documents)
        _replace(spark, at.documents, "document_id", change.documents, change.gone, may_commit)
    finally:
        spark.conf.unset(delta_log.NOTE)


def keep_quarantine(spark: SparkSession, path: str, rows: DataFrame | None, may_commit: MayCommit) -> None:
    """Make the quarantine hold exactly these rows (None: none); nothing is committed where it does already."""
    there = delta_log.newest(spark, path) is not None
    wanted = tables.empty(spark, tables.QUARANTINE) if rows is None else rows
    if there and _fingerprint(tables.read(spark, path)) == ((0, 0) if rows is None else _fingerprint(rows)):
        return
    may_commit()
    stamped = wanted.withColumn("processed_at", f.current_timestamp()).coalesce(1)
    tables.writer(stamped).mode("overwrite").save(path)


def _replace(
    spark: SparkSession,
    path: str,
    key: str,
    rows: DataFrame | None,
    gone: DataFrame | None,
    may_commit: MayCommit,
) -> None:
    if gone is not None:
        may_commit()
        ids = gone.withColumnRenamed("document_id", key)
        table = DeltaTable.forPath(spark, path).alias("held")
        table.merge(ids.alias("gone"), f"held.{key} = gone.{key}").whenMatchedDelete().execute()
    if rows is not None:
        may_commit()
        if delta_log.newest(spark, path) is None:
            _append(rows, path)
        else:
            _put_in_place(rows, path, key)


def _put_in_place(rows: DataFrame, path: str, key: str) -> None:
    """Delta reads the rows twice, to find the files that they touch and to write them: they are made once."""
    kept = rows.persist(StorageLevel.DISK_ONLY)
    try:
        tables.writer(kept).mode("overwrite").option("replaceUsing", key).save(path)
    finally:
        kept.unpersist()


def _append(rows: DataFrame, path: str) -> None:
    tables.writer(rows).mode("append").save(path)


def documents_version(spark: SparkSession, at: Tables, chunks_version: int) -> int:
    """The version of the document table that belongs to a version of the chunk table.

    Raises:
        NotFound: there is none: no such version, or one in the middle of a run.
    """
    newest = delta_log.newest(spark, at.documents)
    for version in range(-1 if newest is None else newest, -1, -1):
        if _noted(spark, at, version) == chunks_version:
            return version
    raise NotFound(
        f"No run left {at.chunks} at version {chunks_version}: name a version that a run of llm_data_prep.py "
        "told, or none for the newest."
    )


def _documented(spark: SparkSession, at: Tables) -> DataFrame:
    return tables.read(spark, at.documents).select("document_id", "document_hash", "splitter")


def _chunked(spark: SparkSession, at: Tables) -> DataFrame:
    chunks = tables.read(spark, at.chunks)
    return chunks.select(f.col("source_document_id").alias("document_id"), "document_hash", "splitter").distinct()


def _noted(spark: SparkSession, at: Tables, version: int) -> int | None:
    return delta_log.note(spark, at.documents, version).get(_NOTE)


def _fingerprint(rows: DataFrame) -> tuple[int, int]:
    each = f.xxhash64("file", "line", "reason", "sentence", "raw")
    count, total = rows.agg(f.count("*"), f.sum(each.cast("decimal(38,0)"))).first()
    return int(count), int(total or 0)
