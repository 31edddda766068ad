"""The tables of a knowledge base: their columns, where they lie, and how they are made.

`<output>` holds the chunks; `_documents` (also the manifest of what was prepared), `_quarantine`, `_vectors` and
`_profiles` are its siblings. Plain Delta that other readers know too: no deletion vectors, no clustering, no type
widening.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)
from pyspark.sql.types import TimestampType as Moment

_TEXT, _INTEGER, _LONG, _REAL = StringType(), IntegerType(), LongType(), DoubleType()


def _list_of(**fields: DataType) -> ArrayType:
    return ArrayType(StructType([StructField(name, kind) for name, kind in fields.items()]))


CHUNKS = StructType(
    [
        StructField("chunk_id", _TEXT),
        StructField("source_document_id", _TEXT),
        StructField("text_content", _TEXT),
        StructField("processed_at", Moment()),
        StructField("start", _INTEGER),
        StructField("end", _INTEGER),
        StructField("index", _INTEGER),
        StructField("title", _TEXT),
        StructField("heading_path", _TEXT),
        StructField("language", _TEXT),
        StructField("document_hash", _TEXT),
        StructField("splitter", _TEXT),
        StructField("metadata", _TEXT),
    ]
)
DOCUMENTS = StructType(
    [
        StructField("document_id", _TEXT),
        StructField("title", _TEXT),
        StructField("text", _TEXT),
        StructField("language", _TEXT),
        StructField("metadata", _TEXT),
        StructField("document_hash", _TEXT),
        StructField("splitter", _TEXT),
        StructField("processed_at", Moment()),
    ]
)
QUARANTINE = StructType(
    [
        StructField("file", _TEXT),
        StructField("line", _LONG),
        StructField("reason", _TEXT),
        StructField("sentence", _TEXT),
        StructField("raw", BinaryType()),
        StructField("processed_at", Moment()),
    ]
)
"""`raw`: the bytes of the row as they were read."""
VECTORS = StructType(
    [
        StructField("chunk_id", _TEXT),
        StructField("model", _TEXT),
        StructField("vector", BinaryType()),
    ]
)
"""`vector`: little-endian 32-bit floats."""
PROFILES = StructType(
    [
        StructField("corpus_version", _LONG),
        StructField("column", _TEXT),
        StructField("specification", _TEXT),
        StructField("profiled_at", Moment()),
        StructField("rows", _LONG),
        StructField("blank", _LONG),
        StructField("length_quantiles", ArrayType(_REAL)),
        StructField("words", _LONG),
        StructField("vocabulary", _LONG),
        StructField("vocabulary_growth", _list_of(rows=_LONG, words=_LONG, vocabulary=_LONG)),
        StructField("top_terms", _list_of(term=_TEXT, count=_LONG)),
        StructField("languages", _list_of(language=_TEXT, rows=_LONG)),
        StructField("exact_duplicates", _LONG),
        StructField("near_duplicates", _LONG),
        StructField(
            "topics", _list_of(topic=_INTEGER, share=_REAL, terms=ArrayType(_TEXT), centre=ArrayType(FloatType()))
        ),
    ]
)
"""A row a column and corpus version (the chunk table's Delta version). The columns: `spark_jobs.profiles`."""


_IDS = ("chunk_id", "source_document_id", "document_id")
_TEXTS = ("text", "text_content")


@dataclass(frozen=True)
class Tables:
    """The addresses of one knowledge base's tables."""

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


def read(spark: SparkSession, path: str, version: int | None = None) -> DataFrame:
    """A table, at a version where one is named."""
    reader = spark.read.format("delta")
    return (reader if version is None else reader.option("versionAsOf", version)).load(path)


def empty(spark: SparkSession, columns: StructType) -> DataFrame:
    """No rows of a table's columns."""
    return spark.createDataFrame([], columns)


def writer(rows: DataFrame) -> DataFrameWriter:
    """Writes Delta that every other reader knows too. Statistics are kept of ids alone and texts get no dictionary:
    nobody looks for a text by its first letters, none comes twice, and both cost a quarter of the time of writing."""
    plain = rows.write.format("delta").option("delta.enableDeletionVectors", "false")
    ids = [name for name in _IDS if name in rows.columns]
    for name in _TEXTS:
        plain = plain.option(f"parquet.enable.dictionary#{name}", "false")
    return plain.option("delta.dataSkippingStatsColumns", ",".join(ids)) if ids else plain


def address(path: str) -> str:
    """One spelling for a table: `s3a://`, no slash at the end."""
    return ("s3a://" + path[5:] if path.startswith("s3://") else path).rstrip("/")
