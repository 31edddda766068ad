"""Documents that were taken back leave the tables, and no later preparation brings them back."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from mlflow_project.adapters.retractions import retract_documents
from spark_jobs.plan import Limits
from spark_jobs.preparation import Request, prepare
from spark_jobs.retractions import take_out
from spark_jobs.tables import Tables, read
from tests.spark.conftest import document, write_lines


def ids(spark: SparkSession, table: str, column: str = "document_id") -> set[str]:
    return {row[column] for row in read(spark, table).select(column).distinct().collect()}


def test_a_retracted_document_leaves_the_tables_and_stays_out(spark: SparkSession, tmp_path: Path) -> None:
    """The limit of a tenth does not count it, and the quarantine keeps its place but not its text."""
    at = Tables(f"{tmp_path}/chunks")
    texts = [document(number) for number in range(4)]
    names = [each["id"] for each in texts]
    corpus = write_lines(tmp_path / "corpus.jsonl", texts)
    prepare(spark, Request(corpus, at.chunks))
    assert retract_documents(at.chunks, [names[1], names[2]], "user:bert", "withdrawn", "2026-12-01T00:00:00.000Z") == 2
    assert retract_documents(at.chunks, [names[1]], "user:bert", "again", "2026-12-01T00:00:01.000Z") == 0

    assert take_out(spark, at)["deleted"] == 2
    left = {names[0], names[3]}
    assert ids(spark, at.documents) == left
    assert ids(spark, at.chunks, "source_document_id") == left

    counts = prepare(spark, Request(corpus, at.chunks))
    assert (counts.quarantined, counts.deleted, counts.unchanged) == ({"retracted": 2}, 0, 2)
    quarantine = read(spark, at.quarantine).where("reason = 'retracted'").collect()
    assert {bytes(row["raw"]) for row in quarantine} == {b""}

    assert retract_documents(at.chunks, [names[3]], "user:bert", "withdrawn", "2026-12-01T00:00:02.000Z") == 1
    more = write_lines(tmp_path / "more.jsonl", [document(9), texts[1]])
    counts = prepare(spark, Request(more, at.chunks, append=True, limits=Limits(deleted=0.0)))
    assert (counts.new, counts.deleted, counts.tombstones) == (1, 1, 1), "an appended input deletes what was retracted"
    assert ids(spark, at.documents) == {names[0], document(9)["id"]}
