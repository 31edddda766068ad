"""The preparation as it would be with Spark's public interfaces alone, measured beside ours. Part of
`bench.text_preparation`.

Executors hand documents and chunks to Spark (`mapInArrow`), which writes them. Nothing may be committed before the
whole input was examined, and one Spark job writes one table. So there are two ways: read the input three times
(examine, write chunks, write documents), or read it once and keep documents with their chunks on the disk until both
tables are written. Delta's `replaceUsing` replaces the rows of changed documents. Our preparation reads once, and its
executors write Parquet themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.storagelevel import StorageLevel

from mlflow_project.rules.chunking.records import Document, Fields
from mlflow_project.rules.chunking.splitter import Splitter
from spark_jobs.cutting import Cutter, chunk_rows, document_rows
from spark_jobs.examination import Examiner
from spark_jobs.preparation import Request, plan
from spark_jobs.raw import read_raw
from spark_jobs.rows import Row
from spark_jobs.tables import CHUNKS, CHUNKS_KEY, DOCUMENTS, DOCUMENTS_KEY, spark_schema, writer

_EXAMINER = Examiner(Fields(), False, "")
_CUTTER = Cutter(Splitter())
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_WITH_CHUNKS = pa.schema([*DOCUMENTS, ("chunks", pa.list_(pa.struct(list(CHUNKS))))])


def prepare_in_three_passes(spark: SparkSession, source: Path, output: Path) -> None:
    """Prepare into new tables, or replace what changed in existing tables. Reads the input three times."""
    plan(spark, Request(str(source), str(output)))
    raw, known = read_raw(spark, str(source)), _known(spark, output)
    for table, step, columns, key in (
        (str(output), _chunks, CHUNKS, CHUNKS_KEY),
        (f"{output}_documents", _documents, DOCUMENTS, DOCUMENTS_KEY),
    ):
        _write(raw.through(partial(step, known=known), spark_schema(columns)), table, key, known is None)


def prepare_in_one_pass(spark: SparkSession, source: Path, output: Path) -> None:
    """The same. Reads the input once, and keeps documents with their chunks until both tables are written."""
    raw, known = read_raw(spark, str(source)), _known(spark, output)
    kept = raw.through(partial(_both, known=known), spark_schema(_WITH_CHUNKS)).persist(StorageLevel.DISK_ONLY)
    kept.select(f.count_distinct("document_id"), f.count_distinct("document_hash")).collect()  # the plan needs these
    chunks = kept.select(f.explode("chunks").alias("chunk")).select("chunk.*")
    _write(chunks, str(output), CHUNKS_KEY, known is None)
    _write(kept.drop("chunks"), f"{output}_documents", DOCUMENTS_KEY, known is None)
    kept.unpersist()


def _known(spark: SparkSession, output: Path) -> object:
    if not output.exists():
        return None
    held = spark.read.format("delta").load(f"{output}_documents").select("document_hash")
    return spark.sparkContext.broadcast(frozenset(row[0] for row in held.collect()))


def _write(rows: DataFrame, table: str, key: str, is_new: bool) -> None:
    if is_new:
        writer(rows).save(table)
        return
    rows.persist().count()  # without a source that was counted, `replaceUsing` fails on small inputs
    rows.write.format("delta").mode("overwrite").option("replaceUsing", key).save(table)
    rows.unpersist()


def _new(rows: Iterator[list[Row]], known: object) -> Iterator[list[Document]]:
    held = known.value if known is not None else frozenset()  # type: ignore[attr-defined]
    for some in rows:
        read = (_EXAMINER.examine(row)[2] for row in some)
        documents = [each for each in read if isinstance(each, Document) and each.document_hash not in held]
        if documents:
            yield documents


def _documents(rows: Iterator[list[Row]], known: object) -> Iterator[pa.RecordBatch]:
    for documents in _new(rows, known):
        yield from _plain(document_rows(documents, _CUTTER.splitter.name, _NOW), DOCUMENTS).to_batches()


def _chunks(rows: Iterator[list[Row]], known: object) -> Iterator[pa.RecordBatch]:
    for documents in _new(rows, known):
        for table in chunk_rows(documents, _CUTTER, _NOW):
            yield from _plain(table, CHUNKS).to_batches()


def _both(rows: Iterator[list[Row]], known: object) -> Iterator[pa.RecordBatch]:
    for documents in _new(rows, known):
        own = _plain(document_rows(documents, _CUTTER.splitter.name, _NOW), DOCUMENTS).combine_chunks()
        cut = pa.concat_tables([_plain(table, CHUNKS) for table in chunk_rows(documents, _CUTTER, _NOW)])
        first_chunks = np.flatnonzero(cut.column("index").to_numpy() == 0)
        offsets = pa.array([*first_chunks.tolist(), cut.num_rows], pa.int32())
        columns = [column.combine_chunks() for column in cut.columns]
        chunks = pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(columns, fields=list(CHUNKS)))
        arrays = [*(column.combine_chunks() for column in own.columns), chunks]
        yield pa.RecordBatch.from_arrays(arrays, schema=_WITH_CHUNKS)


def _plain(table: pa.Table, columns: pa.Schema) -> pa.Table:
    return table.select(columns.names).cast(columns)
