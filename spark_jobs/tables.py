"""The tables of a knowledge base: their columns, their addresses, and how Spark reads and writes them.

`<output>` contains the chunks; `<output>_documents`, `_quarantine`, `_vectors`, `_profiles` and `_retracted` lie beside
it. No other module names the columns of a table with their types. Executors import this module too, so it needs no more
than PySpark and Arrow. All tables are plain Delta without deletion vectors, clustering or type widening, so that other
readers than Spark can read them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql.types import StructType

from spark_jobs import spark_internals

TIMESTAMP = pa.timestamp("us", "UTC")
_TEXT, _INTEGER, _LONG, _REAL, _BYTES = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.binary()


def _list_of(**fields: pa.DataType) -> pa.DataType:
    return pa.list_(pa.struct(list(fields.items())))


CHUNKS = pa.schema(
    {
        "chunk_id": _TEXT,
        "source_document_id": _TEXT,
        "text_content": _TEXT,
        "processed_at": TIMESTAMP,
        "start": _INTEGER,
        "end": _INTEGER,
        "index": _INTEGER,
        "title": _TEXT,
        "heading_path": _TEXT,
        "language": _TEXT,
        "document_hash": _TEXT,
        "splitter": _TEXT,
        "metadata": _TEXT,
    }
)
CHUNKS_KEY = "source_document_id"
DOCUMENTS = pa.schema(
    {
        "document_id": _TEXT,
        "title": _TEXT,
        "text": _TEXT,
        "language": _TEXT,
        "metadata": _TEXT,
        "document_hash": _TEXT,
        "splitter": _TEXT,
        "processed_at": TIMESTAMP,
        "source_file": _TEXT,
        "source_block": _LONG,
        "source_line": _LONG,
    }
)
"""`source_…` is the location of the raw row that a document was read from, in the form of `rows.SourceLocation`. They
are null in rows of preparations that did not record it yet."""
DOCUMENTS_KEY = "document_id"
QUARANTINE = pa.schema(
    {"file": _TEXT, "line": _LONG, "reason": _TEXT, "sentence": _TEXT, "raw": _BYTES, "processed_at": TIMESTAMP}
)
"""`raw` contains the bytes of the row as they were read."""
INGESTED = pa.schema(
    {
        "event_id": _TEXT,
        "key": _TEXT,
        "value": _TEXT,
        "deleted": pa.bool_(),
        "topic": _TEXT,
        "topic_id": _TEXT,
        "partition": _INTEGER,
        "offset": _LONG,
        "received_at": TIMESTAMP,
        "written_at": TIMESTAMP,
        "schema_version": _INTEGER,
        "owner": _TEXT,
        "request_id": _TEXT,
        "trace": _TEXT,
        "value_hash": _LONG,
    }
)
"""A raw table of ingestion: one row per record. `value` is the JSON as it came, null if `deleted`."""
DEAD_LETTERS = pa.schema(
    {
        "topic": _TEXT,
        "topic_id": _TEXT,
        "partition": _INTEGER,
        "offset": _LONG,
        "key": _BYTES,
        "raw": _BYTES,
        "reason": _TEXT,
        "sentence": _TEXT,
        "tries": _INTEGER,
        "event_id": _TEXT,
        "schema_version": _INTEGER,
        "received_at": _TEXT,
        "owner": _TEXT,
        "request_id": _TEXT,
        "trace": _TEXT,
        "at": TIMESTAMP,
        "redriven": pa.bool_(),
    }
)
"""A row per dead letter, and one more (`redriven`) when it was sent again."""
VECTORS = pa.schema({"chunk_id": _TEXT, "model": _TEXT, "vector": _BYTES})
"""`vector` contains little-endian 32-bit floats."""
PROFILES = pa.schema(
    {
        "corpus_version": _LONG,
        "column": _TEXT,
        "specification": _TEXT,
        "profiled_at": TIMESTAMP,
        "rows": _LONG,
        "blank": _LONG,
        "length_quantiles": pa.list_(_REAL),
        "words": _LONG,
        "vocabulary": _LONG,
        "vocabulary_growth": _list_of(rows=_LONG, words=_LONG, vocabulary=_LONG),
        "top_terms": _list_of(term=_TEXT, count=_LONG),
        "languages": _list_of(language=_TEXT, rows=_LONG),
        "exact_duplicates": _LONG,
        "near_duplicates": _LONG,
        "topics": _list_of(topic=_INTEGER, share=_REAL, terms=pa.list_(_TEXT), centre=pa.list_(pa.float32())),
    }
)
"""One row per column and corpus version (the Delta version of the chunk table). `spark_jobs.profiles` explains them."""

IDS = frozenset({"chunk_id", CHUNKS_KEY, DOCUMENTS_KEY, "partition", "offset", "received_at"})
"""Columns that readers search by. No other column has statistics."""
TEXTS = frozenset({"text", "text_content"})
"""Columns of long texts that hardly repeat. A dictionary would cost time and save nothing."""


@dataclass(frozen=True)
class Tables:
    """The addresses of the tables of one knowledge base."""

    chunks: str

    @property
    def documents(self) -> str:
        return self.chunks + "_documents"

    @property
    def quarantine(self) -> str:
        return self.chunks + "_quarantine"

    @property
    def vectors(self) -> str:
        return self.chunks + "_vectors"

    @property
    def profiles(self) -> str:
        return self.chunks + "_profiles"

    @property
    def retracted(self) -> str:
        """The documents that somebody took back; written by `switchyard lineage impact --retract`, without Spark."""
        return self.chunks + "_retracted"


def spark_schema(columns: pa.Schema) -> StructType:
    """The columns as Spark's type."""
    return spark_internals.spark_types(columns)


def read(spark: SparkSession, path: str, version: int | None = None) -> DataFrame:
    """Read a table, at its newest version unless one is named."""
    reader = spark.read.format("delta")
    return (reader if version is None else reader.option("versionAsOf", version)).load(path)


def empty(spark: SparkSession, columns: pa.Schema) -> DataFrame:
    """A table's columns without rows."""
    return spark.createDataFrame([], spark_schema(columns))


def writer(rows: DataFrame) -> DataFrameWriter:
    """A writer of plain Delta. Statistics and dictionaries of long texts would take a quarter of the writing time."""
    plain = rows.write.format("delta").option("delta.enableDeletionVectors", "false")
    for name in TEXTS:
        plain = plain.option(f"parquet.enable.dictionary#{name}", "false")
    ids = [name for name in rows.columns if name in IDS]
    return plain.option("delta.dataSkippingStatsColumns", ",".join(ids)) if ids else plain


def address(path: str) -> str:
    """The one spelling of a table's address: `s3a://` instead of `s3://`, and no slash at the end."""
    return ("s3a://" + path[5:] if path.startswith("s3://") else path).rstrip("/")
