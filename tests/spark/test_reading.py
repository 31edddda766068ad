"""Rows of raw files, as workers read them and as Spark does: the same rows, named in the same way."""

from __future__ import annotations

import gzip
import uuid
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import InvalidData
from mlflow_project.settings import StoreSettings, load
from spark_jobs import raw, spark_internals
from spark_jobs.raw import Raw, read_raw
from spark_jobs.rows import RAW_ROW, PieceReader, raw_rows, read_from_spark
from spark_jobs.session import translated
from spark_jobs.tables import spark_schema


def rows_of(found: Raw) -> list[tuple[str, bytes | None]]:
    """File and bytes of each row, in their order."""
    rows = found.through(raw_rows, spark_schema(RAW_ROW)).collect()
    return [
        (row.file, None if row.raw is None else bytes(row.raw))
        for row in sorted(rows, key=lambda row: (row.file, row.block, row.line))
    ]


def test_workers_read_the_rows_that_spark_reads(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in put ü%41"
    for name, content in {
        "a b+c%20#x.jsonl": b"1\r\n\n2\n3",
        "part=1/ü?.jsonl": b"4\n5\n\n\n",
        "empty.jsonl": b"",
        "_seen=1.jsonl": b"6\n",
        "_hidden.jsonl": b"never\n",
        "_hidden/x.jsonl": b"never\n",
        ".hidden/x.jsonl": b"never\n",
        "long.jsonl": b"7" * 300_000 + b"\n" + b"8\n" * 1_000 + b"9" * 300_000,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    ours = read_raw(spark, str(folder))
    monkeypatch.setattr(raw, "_MOST_LISTED", 5)
    sparks = read_raw(spark, str(folder))
    assert (type(ours.read), sparks.read) == (PieceReader, read_from_spark)
    assert rows_of(ours) == rows_of(sparks)
    assert len(rows_of(ours)) == 4 + 4 + 1 + 1 + 1_000 + 1 + 1


def test_workers_read_the_object_store(spark: SparkSession) -> None:
    folder = f"s3a://raw-data-bucket/read by workers {uuid.uuid4().hex}"
    spark_internals.write(spark, f"{folder}/ü%41 + x.jsonl", b"1\n2\n" * 100_000)
    found = read_raw(spark, folder)
    assert type(found.read) is PieceReader
    assert [value for _, value in rows_of(found)] == [b"1", b"2"] * 100_000


def test_a_whole_bucket_is_read_but_for_what_is_hidden(spark: SparkSession) -> None:
    bucket = f"whole-{uuid.uuid4().hex}"
    ObjectStore(load(StoreSettings)).ensure_bucket(bucket)
    for name, content in {"a_b.jsonl": b"1\n", "b.jsonl": b"2\n", "c_d/e.jsonl": b"3\n", "_no.jsonl": b"4\n"}.items():
        spark_internals.write(spark, f"s3a://{bucket}/{name}", content)
    assert [value for _, value in rows_of(read_raw(spark, f"s3a://{bucket}/"))] == [b"1", b"2", b"3"]


def test_spark_unpacks_what_is_packed(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"1\n2\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"3\n"))
    found = read_raw(spark, str(tmp_path))
    assert found.read is read_from_spark
    assert [value for _, value in rows_of(found)] == [b"1", b"2", b"3"]


def test_a_file_with_a_hidden_name_is_read_where_it_is_asked_for(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "_raw.jsonl").write_bytes(b"1\n")
    assert [value for _, value in rows_of(read_raw(spark, f"{tmp_path}/_raw.jsonl"))] == [b"1"]


def test_a_file_may_be_named_after_a_time(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "raw.2026-01-01T10:00:00").write_bytes(b"1\n")
    assert [value for _, value in rows_of(read_raw(spark, str(tmp_path)))] == [b"1"]


def test_a_file_that_goes_away_is_named_in_a_sentence(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "gone.jsonl").write_bytes(b"1\n")
    found = read_raw(spark, str(tmp_path))
    (tmp_path / "gone.jsonl").unlink()
    with pytest.raises(InvalidData, match=r"Reading: file:/\S+gone\.jsonl cannot be read: "), translated("Reading"):
        rows_of(found)
