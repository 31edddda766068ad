"""Files that workers write for a table: what a commit must know of them is true, and readers find the rows again."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mlflow_project.rules.chunking.records import Document, document
from mlflow_project.rules.chunking.splitter import Splitter
from spark_jobs.cutting import Cutter, chunk_rows, document_rows
from spark_jobs.folders import Folder
from spark_jobs.table_files import TableFile, Written

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
DOCUMENTS = [document(f"d{n}", f"Title {n}", f"Text of {n}. " * 200, [None, "en"][n % 2]) for n in range(4)]


def written(folder: Folder, documents: list[Document]) -> Written | None:
    file = TableFile(folder, "part-0.parquet", "source_document_id")
    for rows in chunk_rows(documents, Cutter(Splitter()), MOMENT):
        file.write(rows)
    return file.close()


def test_a_file_tells_its_size_its_rows_and_its_first_and_last_document(tmp_path: Path) -> None:
    told = written(Folder("file:/t", "local", str(tmp_path / "table")), DOCUMENTS)
    assert told is not None
    place = tmp_path / "table" / "part-0.parquet"
    rows = pq.read_table(place)
    assert (told.folder, told.name) == ("file:/t", "part-0.parquet")
    assert (told.size, told.rows, told.content) == (place.stat().st_size, rows.num_rows, None)
    assert (told.low, told.high) == ("d0", "d3")
    assert set(rows["processed_at"].to_pylist()) == {MOMENT}
    assert {(row["source_document_id"], row["language"]) for row in rows.to_pylist()} == {
        (each.document_id, each.language) for each in DOCUMENTS
    }


def test_what_arrow_cannot_reach_is_handed_to_the_driver_as_bytes() -> None:
    told = written(Folder("viewfs:///t"), DOCUMENTS)
    assert told is not None
    assert told.content is not None
    assert pq.read_table(io.BytesIO(told.content)).num_rows == told.rows
    assert len(told.content) == told.size


def test_no_rows_make_no_file(tmp_path: Path) -> None:
    assert written(Folder("file:/t", "local", str(tmp_path / "table")), []) is None
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize("size", [1, 7])
def test_documents_are_written_as_they_are(size: int) -> None:
    locations = [("s3a://raw/a.jsonl", 7, number) for number in range(size)][: len(DOCUMENTS)]
    rows = document_rows(DOCUMENTS[:size], "splitter", MOMENT, locations).to_pylist()
    assert [(row["source_file"], row["source_block"], row["source_line"]) for row in rows] == locations
    assert [(row["document_id"], row["text"], row["document_hash"]) for row in rows] == [
        (each.document_id, each.text, each.document_hash) for each in DOCUMENTS[:size]
    ]
