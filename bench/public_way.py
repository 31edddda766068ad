"""The preparation as it would be with Spark's public interfaces alone, measured beside ours.

Part of `bench.text_preparation`. Executors hand documents and chunks to Spark (`mapInArrow`), which writes them: a pass
that examines, one that writes documents and one that writes chunks, since nothing may be committed before the whole
input was examined and one Spark job writes one table. What changed replaces the rows of its documents by Delta's
`replaceUsing`. Ours reads once, and its executors write Parquet themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from mlflow_project.rules.chunking.records import Document, Fields
from mlflow_project.rules.chunking.splitter import Splitter
from spark_jobs.cutting import Cutter, chunk_rows, document_rows
from spark_jobs.examination import Examiner
from spark_jobs.preparation import Request, plan
from spark_jobs.raw import Raw, read_raw
from spark_jobs.rows import Row
from spark_jobs.tables import CHUNKS, CHUNKS_KEY, DOCUMENTS, DOCUMENTS_KEY, spark_schema, writer

_EXAMINER = Examiner(Fields(), False, "")
_CUTTER = Cutter(Splitter())
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def prepare_publicly(spark: SparkSession, source: Path, output: Path) -> None:
    """Prepare into new tables, or replace what changed in tables that are there."""
    plan(spark, Request(str(source), str(output)))
    raw = read_raw(spark, str(source))
    known = None
    if output.exists():
        held = spark.read.format("delta").load(f"{output}_documents").select("document_hash")
        known = spark.sparkContext.broadcast(frozenset(row[0] for row in held.collect()))
    for table, step, columns, key in (
        (str(output), _chunks, CHUNKS, CHUNKS_KEY),
        (f"{output}_documents", _documents, DOCUMENTS, DOCUMENTS_KEY),
    ):
        rows = _rows(raw, partial(step, known=known), columns)
        if known is None:
            writer(rows).save(table)
        else:
            rows.persist().count()
            rows.write.format("delta").mode("overwrite").option("replaceUsing", key).save(table)
            rows.unpersist()


def _rows(raw: Raw, step: partial[Iterator[pa.RecordBatch]], columns: pa.Schema) -> DataFrame:
    return raw.through(step, spark_schema(columns))


def _new(rows: Iterator[list[Row]], known: object) -> Iterator[list[Document]]:
    held = known.value if known is not None else frozenset()  # type: ignore[attr-defined]
    for some in rows:
        read = (_EXAMINER.examine(row)[2] for row in some)
        documents = [each for each in read if isinstance(each, Document) and each.document_hash not in held]
        if documents:
            yield documents


def _documents(rows: Iterator[list[Row]], known: object) -> Iterator[pa.RecordBatch]:
    for documents in _new(rows, known):
        yield from _plain(document_rows(documents, _CUTTER.splitter.name, _NOW), DOCUMENTS)


def _chunks(rows: Iterator[list[Row]], known: object) -> Iterator[pa.RecordBatch]:
    for documents in _new(rows, known):
        for table in chunk_rows(documents, _CUTTER, _NOW):
            yield from _plain(table, CHUNKS)


def _plain(table: pa.Table, columns: pa.Schema) -> list[pa.RecordBatch]:
    return list(table.select(columns.names).cast(columns).to_batches())
