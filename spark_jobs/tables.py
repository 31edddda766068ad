"""The tables of a knowledge base: their columns, where they lie, and how they are made.

`<output>` holds the chunks; `_documents` (also the manifest of what was prepared), `_quarantine` and `_vectors` are its
siblings. Plain Delta that other readers know too: no deletion vectors, no clustering, no type widening.
"""

from __future__ import annotations

from dataclasses import dataclass

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import (
    BinaryType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)
from pyspark.sql.types import TimestampType as Moment

from mlflow_project.errors import InvalidData

SPLITTER = "switchyard.splitter"
DROPPED = "switchyard.dropped"

_TEXT, _INTEGER, _LONG = StringType(), IntegerType(), LongType()

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
        StructField("chunks", _INTEGER),
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


def exists(spark: SparkSession, path: str) -> bool:
    """Whether a Delta table is there."""
    return bool(DeltaTable.isDeltaTable(spark, path))


def read(spark: SparkSession, path: str, version: int | None = None) -> DataFrame:
    """A table, at a version where one is named."""
    reader = spark.read.format("delta")
    return (reader if version is None else reader.option("versionAsOf", version)).load(path)


def create_all(spark: SparkSession, at: Tables, splitter: str) -> None:
    """Make the three tables of a knowledge base, each unless it is there."""
    for path, columns in ((at.quarantine, QUARANTINE), (at.chunks, CHUNKS), (at.documents, DOCUMENTS)):
        create(spark, path, columns, splitter)


def create(spark: SparkSession, path: str, columns: StructType, splitter: str) -> None:
    """Make a table unless it is there."""
    if exists(spark, path):
        return
    (
        DeltaTable.createIfNotExists(spark)
        .location(path)
        .addColumns(columns)
        .property(SPLITTER, splitter)
        .property("delta.enableDeletionVectors", "false")
        .execute()
    )


def version(spark: SparkSession, path: str) -> int:
    """The newest version of a table."""
    return int(DeltaTable.forPath(spark, path).history(1).select("version").first()[0])


def same_splitter(spark: SparkSession, path: str, splitter: str) -> None:
    """Make sure that a table was made with this splitter, if it is there.

    Raises:
        InvalidData: it was made with another.
    """
    if not exists(spark, path):
        return
    made_with = DeltaTable.forPath(spark, path).detail().select("properties").first()[0].get(SPLITTER)
    if made_with != splitter:
        raise InvalidData(
            f"{path} was made with splitter {made_with!r}, and this run asks for {splitter!r}: chunks of two kinds do "
            "not mix. Use the same size, overlap and unit, or another output path."
        )


def address(path: str) -> str:
    """One spelling for a table: `s3a://`, no slash at the end."""
    return ("s3a://" + path[5:] if path.startswith("s3://") else path).rstrip("/")
