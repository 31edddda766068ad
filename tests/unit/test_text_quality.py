"""The quality of texts is counted from the tables at the noted versions, and not from what came later."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from mlflow_project.adapters.text_quality import text_quality
from mlflow_project.domain.text_quality import TextQuality
from mlflow_project.errors import NotFound
from spark_jobs.table_state import Note
from spark_jobs.tables import PROFILES, QUARANTINE


def quarantine(address: str, *reasons: str) -> None:
    rows = [{**dict.fromkeys(QUARANTINE.names), "reason": reason} for reason in reasons]
    write_deltalake(f"{address}_quarantine", pa.Table.from_pylist(rows, QUARANTINE), mode="overwrite")


def prepare(address: str, note: Note, documents: int) -> None:
    names = [f"d{number}" for number in range(documents)]
    write_deltalake(address, pa.table({"chunk_id": names}), mode="overwrite")
    said = CommitProperties({"userMetadata": str(note)})
    write_deltalake(f"{address}_documents", pa.table({"document_id": names}), mode="overwrite", commit_properties=said)


def test_rows_are_counted_as_a_preparation_counts_them_at_the_pinned_version(tmp_path: Path) -> None:
    """Rows that somebody wanted dropped and pages of taken documents are in quarantine, and no rejected rows."""
    table = str(tmp_path / "docs")
    quarantine(table, "empty_text", "retracted", "bad_page")
    prepare(table, Note(0, 3, 0, "5/1"), 3)
    profile = {**dict.fromkeys(PROFILES.names), "corpus_version": 0, "column": "text"}
    write_deltalake(f"{table}_profiles", pa.Table.from_pylist([profile], PROFILES))
    quarantine(table)
    prepare(table, Note(1, 4, 1, "4/2"), 4)

    reasons = {"bad_page": 1, "empty_text": 1, "retracted": 1}
    first, second = text_quality(table, 0), text_quality(table, 1)
    assert first == TextQuality(table, 0, 3, 3, reasons, rejected=1, rows=5, profiled=("text",))
    assert (first.share, second.share, second.documents, second.profiled) == (0.2, 0.0, 4, ())


def test_what_no_preparation_noted_is_not_found(tmp_path: Path) -> None:
    table = str(tmp_path / "docs")
    quarantine(table, "empty_text")
    prepare(table, Note(chunks_version=0), 1)
    with pytest.raises(NotFound, match=r"noted no version of .*_quarantine"):
        text_quality(table, 0)
    with pytest.raises(NotFound, match=r"no commit of .*_documents says that it belongs to version 7"):
        text_quality(table, 7)
