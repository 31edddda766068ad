"""A folder of the files that people have becomes chunks with pages; what cannot be read is in quarantine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from mlflow_project.errors import InvalidData
from spark_jobs.build_index import index_row
from spark_jobs.preparation import Request, prepare
from spark_jobs.raw import read_raw
from tests.spark import made_documents as made
from tests.spark.conftest import NO_LIMITS
from tests.spark.test_preparation import rows_of

LONG = "\n".join(f"Sentence {number} of a page that is as long as pages are." for number in range(20))
FILES = {
    "report.pdf": made.pdf([LONG, made.BROKEN, "The last page.", made.PICTURE], title="Report"),
    "locked.pdf": made.pdf(["Secret."], password="s3cret"),
    "sub/handbook.docx": made.word_file(),
    "plan.pptx": made.presentation(),
    "book.epub": made.book(),
    "mail.eml": made.message(),
    "refunds.html": made.PAGE.encode(),
    "notes.md": b"# Notes\n\nA text.",
    "cut off.docx": made.word_file()[:2000],
}


def test_a_folder_of_documents_becomes_chunks_with_pages_and_bad_pages_are_in_quarantine(
    spark: SparkSession, tmp_path: Path
) -> None:
    for name, data in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    request = Request(str(tmp_path / "in"), str(tmp_path / "chunks"), limits=NO_LIMITS)
    counts = prepare(spark, request)
    assert (counts.documents, counts.read) == (7, 11)
    documents = {row["document_id"]: row for row in rows_of(tmp_path / "chunks_documents")}
    assert documents.keys() == FILES.keys() - {"locked.pdf", "cut off.docx"}
    assert documents["sub/handbook.docx"]["title"] == "Handbook"
    rejected = {(Path(row["file"]).name, row["line"]): row["reason"] for row in rows_of(tmp_path / "chunks_quarantine")}
    assert rejected == {
        ("report.pdf", 2): "bad_page",
        ("report.pdf", 4): "page_without_text",
        ("locked.pdf", 1): "encrypted",
        ("cut off.docx", 1): "unreadable",
    }
    chunks = rows_of(tmp_path / "chunks")
    for row in chunks:
        assert documents[row["source_document_id"]]["text"][row["start"] : row["end"]] == row["text_content"]
    of_report = sorted(
        (row for row in chunks if row["source_document_id"] == "report.pdf"), key=lambda row: row["start"]
    )
    pages = [json.loads(row["metadata"])["pages"] for row in of_report]
    assert (pages[0], pages[-1]) == ([1], [1, 3])
    assert [index_row(row).get("pages") for row in of_report] == pages
    again = prepare(spark, request)
    assert (again.unchanged, again.new, again.changed, again.delta_version) == (7, 0, 0, counts.delta_version)


def test_a_mixed_folder_is_told_how_to_be_read(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(made.pdf(["A."]))
    (tmp_path / "b.jsonl").write_bytes(b'{"id": "b", "text": "B."}\n')
    with pytest.raises(InvalidData, match=r"several kinds \(\.jsonl, \.pdf\)\. Give `--form files` to read each file"):
        read_raw(spark, str(tmp_path))
