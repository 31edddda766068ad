"""Text preparation reads the raw table of documents: what is new since, the newest row of each key, and tombstones."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from mlflow_project.adapters.delta_tables import batches
from mlflow_project.errors import InvalidData, Refused
from mlflow_project.rules.quality.selection import Quality
from spark_jobs import tables
from spark_jobs.event_rows import raw_lines
from spark_jobs.ingested_source import Seen, newest_rows, rows_since
from spark_jobs.plan import Limits
from spark_jobs.preparation import Counts, Request, plan, prepare
from tests.spark.conftest import document, write_lines

BEGAN = datetime(2026, 11, 30, 14, tzinfo=UTC)
COLUMNS = ("key", "value", "deleted", "topic_id", "partition", "offset", "received_at", "written_at")
Row = tuple[int, int, str, str | None]
"""Partition, offset, key, and the text of the document; None is a tombstone."""


class RawTable:
    """A raw table as the writer leaves it, without Kafka."""

    def __init__(self, spark: SparkSession, address: str) -> None:
        self.spark, self.address, self.commits = spark, address, 0

    def commit(self, *rows: Row, topic_id: str = "t1") -> None:
        """Append the rows in one commit."""
        self.commits += 1
        written = BEGAN + timedelta(seconds=self.commits)
        found = [
            {
                **dict.fromkeys(tables.INGESTED.names),
                "key": key,
                "value": None if text is None else json.dumps({"id": key, "text": text * 40}),
                "deleted": text is None,
                "topic": "raw-documents",
                "topic_id": topic_id,
                "partition": partition,
                "offset": offset,
                "received_at": written,
                "written_at": written,
            }
            for partition, offset, key, text in rows
        ]
        frame = self.spark.createDataFrame(found, tables.spark_schema(tables.INGESTED))
        tables.writer(frame).mode("append").save(self.address)


@pytest.fixture
def raw(spark: SparkSession, tmp_path: Path) -> RawTable:
    return RawTable(spark, str(tmp_path / "raw-documents"))


@pytest.fixture
def take(spark: SparkSession, raw: RawTable, tmp_path: Path) -> Callable[..., Counts]:
    """Prepare the raw table into `<tmp>/chunks`."""

    def run(source: str = raw.address, **options: Any) -> Counts:
        return prepare(spark, Request(source, str(tmp_path / "chunks"), **options))

    return run


def texts(tmp_path: Path) -> dict[str, str]:
    """The first words of each document, by its id."""
    query = "SELECT document_id, text FROM t"
    found = [
        row for each in batches(query, {"t": DeltaTable(f"{tmp_path}/chunks_documents")}) for row in each.to_pylist()
    ]
    return {row["document_id"]: row["text"].split()[0] for row in found}


def chunked(tmp_path: Path) -> list[str]:
    """The documents that have chunks. Fails if a chunk is there twice."""
    query = "SELECT source_document_id AS id, chunk_id FROM t ORDER BY 1"
    found = [row for each in batches(query, {"t": DeltaTable(f"{tmp_path}/chunks")}) for row in each.to_pylist()]
    assert len({row["chunk_id"] for row in found}) == len(found)
    return sorted({row["id"] for row in found})


def test_a_preparation_takes_what_is_new_and_deletes_what_was_deleted_over_http(
    spark: SparkSession, raw: RawTable, take: Callable[..., Counts], tmp_path: Path
) -> None:
    raw.commit((0, 0, "a", "first "), (1, 0, "b", "first "), (0, 1, "a", "second "), (0, 2, "c", "first "))
    first = take()
    assert (first.read, first.new) == (3, 3)
    assert texts(tmp_path) == {"a": "second", "b": "first", "c": "first"}
    nothing = take()
    assert (nothing.read, nothing.delta_version) == (0, first.delta_version)

    spark.sql(f"OPTIMIZE delta.`{raw.address}`")
    raw.commit((1, 1, "b", None), (0, 3, "c", "second "), (2, 0, "d", "first "))
    second = take()  # with the default limits: one of three documents may go because it was deleted by its id
    assert (second.read, second.new, second.changed, second.deleted, second.tombstones) == (2, 1, 1, 1, 1)
    assert texts(tmp_path) == {"a": "second", "c": "second", "d": "first"}
    assert chunked(tmp_path) == ["a", "c", "d"]

    # The documents of a whole corpus join them. Neither input deletes what came by the other.
    corpus = write_lines(tmp_path / "corpus.jsonl", [document(1), document(2)])
    joined = take(corpus)
    assert (joined.new, joined.deleted) == (2, 0)
    assert set(texts(tmp_path)) == {"a", "c", "d", "d1", "d2"}
    with pytest.raises(Refused, match="would be deleted"):
        take(write_lines(tmp_path / "corpus.jsonl", [document(1)]))

    # A run that was cut short between its commits leaves nothing half written, and nothing twice.
    raw.commit((0, 4, "a", "third "), (0, 5, "c", None), (2, 1, "e", "first "))
    left = iter([None])
    with pytest.raises(StopIteration):
        prepare(spark, Request(raw.address, str(tmp_path / "chunks")), may_commit=lambda: next(left))
    take()
    assert texts(tmp_path) == {"a": "third", "d": "first", "e": "first", "d1": "Text", "d2": "Text"}
    assert chunked(tmp_path) == ["a", "d", "d1", "d2", "e"]


def test_a_raw_table_gives_no_whole_corpus_to_look_for_duplicates(
    spark: SparkSession, raw: RawTable, take: Callable[..., Counts], tmp_path: Path
) -> None:
    raw.commit((0, 0, "a", "first "))
    with pytest.raises(InvalidData, match="--duplicates"):
        take(quality=Quality(duplicates="exact"))
    assert plan(spark, Request(raw.address, str(tmp_path / "chunks"), limits=Limits())).new == 1


def test_the_newest_row_of_a_key_is_the_last_one_of_its_partition_or_of_the_last_commit(
    spark: SparkSession, raw: RawTable
) -> None:
    raw.commit((0, 9, "a", "9 "), (0, 10, "a", "10 "))
    raw.commit((3, 0, "a", "moved "), (0, 11, "b", "11 "))
    lines, version = raw_lines(spark, raw.address)
    assert (lines.count(), version) == (4, 1), "features read the same table"
    rows = newest_rows(tables.read(spark, raw.address), ("key", "offset", "partition", "written_at", "received_at"))
    assert {row.key: (row.partition, row.offset) for row in rows.collect()} == {"a": (3, 0), "b": (0, 11)}
    found = rows_since(spark, raw.address, Seen())
    assert found.seen().offsets == {"t1": {"0": 12, "3": 1}}
    raw.commit((0, 0, "a", "again "), topic_id="t2")
    assert [json.loads(row.value)["id"] for row in rows_since(spark, raw.address, found.seen()).rows.collect()] == ["a"]
    other = Seen("another table", 7, {"t1": {"0": 100}})
    assert rows_since(spark, raw.address, other).rows.count() == 2, "a table that was made again is read as a whole"
