"""Commits of files, and tables that go back to an earlier version. Without Spark: local folders and delta-rs alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from mlflow_project.adapters.registry import RegistryEntry, RegistryVersion
from mlflow_project.errors import NotFound, Refused
from mlflow_project.rules.chunking.records import Fields, document
from mlflow_project.rules.chunking.splitter import Splitter
from mlflow_project.rules.content import KNOWLEDGE_BASE
from spark_jobs import restore_tables
from spark_jobs.cutting import Cutter, document_rows
from spark_jobs.examination import Examiner
from spark_jobs.folders import Folder
from spark_jobs.staging import Stager, _stage
from spark_jobs.table_files import TableFile, Written
from spark_jobs.table_log import TableLog
from spark_jobs.table_state import Note
from spark_jobs.tables import CHUNKS, CHUNKS_KEY, DOCUMENTS, DOCUMENTS_KEY, QUARANTINE, Tables

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPARK: Any = None  # local folders need none


class Nothing:
    """No known documents, as a broadcast."""

    value = np.array([], np.uint64)


def log_of(address: str) -> TableLog:
    if address.endswith("_documents"):
        return TableLog(SPARK, Folder(address, "local", address), DOCUMENTS, DOCUMENTS_KEY)
    columns, key = (QUARANTINE, "file") if address.endswith("_quarantine") else (CHUNKS, CHUNKS_KEY)
    return TableLog(SPARK, Folder(address, "local", address), columns, key)


def prepared(at: Tables, run: str, ids: str) -> None:
    """Tables of exactly these documents, as a preparation leaves them."""
    chunks, documents, quarantine = (log_of(each) for each in (at.chunks, at.documents, at.quarantine))
    examiner = Examiner(Fields(), False, "")
    stager = Stager(examiner, Cutter(Splitter()), chunks.folder, documents.folder, run, NOW)
    lines = [json.dumps({"id": each, "text": f"Text of {each}."}).encode() for each in ids]
    rows = [[(("raw", 0, number), line) for number, line in enumerate(lines)]]
    staged = [row for batch in _stage(iter(rows), stager, Nothing()) for row in batch["written"].to_pylist()]  # type: ignore[arg-type]
    written = [Written(**row) for row in staged if row]
    if quarantine.version is None:
        quarantine.commit([], {})
    for log in (chunks, documents):
        held = {} if log.version is None else {Path(uri).name: 1 for uri in DeltaTable(log.folder.path).file_uris()}
        note = "" if log is chunks else str(Note(chunks.version, len(ids), quarantine.version, run))
        log.commit([file for file in written if file.folder == log.folder.address], held, note)


def documents_in(at: Tables) -> str:
    answer = log_of(at.documents).ask("SELECT document_id FROM here ORDER BY 1")
    assert answer is not None
    return "".join(answer[0].to_pylist())


@pytest.fixture
def at(tmp_path: Path) -> Tables:
    return Tables(f"{tmp_path}/chunks")


def test_of_two_writers_that_saw_the_same_table_the_second_is_refused_and_changes_nothing(at: Tables) -> None:
    for version in range(2):
        first, second = log_of(at.documents), log_of(at.documents)
        first.commit([], {}, "first")
        with pytest.raises(Refused, match=r"Another writer changed .*chunks_documents at the same time"):
            second.commit([], {}, "second")
        assert list(log_of(at.documents).notes(1)) == [(version, "first")]


def test_a_commit_whose_answer_was_lost_is_not_taken_for_another_writer_s(
    at: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_of(at.documents)
    log.commit([], {})
    commit = DeltaTable.create_write_transaction

    def answer_is_lost(*args: Any, **options: Any) -> None:
        commit(*args, **options)
        commit(*args, **options)  # the client sends the same commit again, and finds that version taken

    monkeypatch.setattr(DeltaTable, "create_write_transaction", answer_is_lost)
    log.commit([], {}, "ours")
    assert list(log.notes(1)) == [(1, "ours")]


def test_a_table_of_an_older_release_gets_the_columns_that_it_lacks_and_keeps_its_rows(at: Tables) -> None:
    older = pa.schema([each for each in DOCUMENTS if not each.name.startswith("source_")])
    place = Folder(at.documents, "local", at.documents)
    file = TableFile(place, "part-0.zstd.parquet", DOCUMENTS_KEY)
    file.write(document_rows([document(each, "", "Text.") for each in "ab"], "s", NOW).select(older.names))
    written = file.close()
    assert written is not None
    TableLog(SPARK, place, older, DOCUMENTS_KEY).commit([written], {}, "first")
    log = log_of(at.documents)
    assert "source_file" not in DeltaTable(at.documents).to_pyarrow_table().column_names
    log.commit([], {}, "second")
    assert [text for _, text in log.notes()] == ["second", "first", "first"], "no moment without a note"
    rows = log.ask("SELECT document_id, source_file, source_line FROM here ORDER BY 1")
    assert rows is not None
    assert rows.to_pydict() == {"document_id": ["a", "b"], "source_file": [None] * 2, "source_line": [None] * 2}
    log.commit([], {}, "third")
    assert log.version == 3, "the columns are added once"


def test_each_document_says_where_its_raw_row_is(at: Tables) -> None:
    prepared(at, "first", "ab")
    rows = log_of(at.documents).ask("SELECT document_id, source_file, source_block, source_line FROM here ORDER BY 1")
    assert rows is not None
    assert [tuple(row.values()) for row in rows.to_pylist()] == [("a", "raw", 0, 0), ("b", "raw", 0, 1)]


def test_twelve_commits_leave_a_checkpoint(at: Tables) -> None:
    log = log_of(at.documents)
    for number in range(12):
        log.commit([], {}, str(number))
    assert (Path(at.documents) / "_delta_log" / "_last_checkpoint").exists()
    assert next(log_of(at.documents).notes(1)) == (11, "11")


def test_tables_go_back_to_what_a_preparation_left(at: Tables) -> None:
    prepared(at, "first", "ab")
    prepared(at, "second", "c")
    note = restore_tables.restore(at, 0, lambda: None)
    assert (documents_in(at), note) == ("ab", Note(2, 2, 0, "first"))
    assert Note.parse(next(log_of(at.documents).notes(1))[1]) == note
    assert [each.note.chunks_version for each in restore_tables.preparations(at)] == [2, 1, 0]
    restore_tables.restore(at, 1, lambda: None)
    assert documents_in(at) == "c"
    restore_tables.restore(at, 2, lambda: None)
    assert documents_in(at) == "ab"


def test_a_restore_that_was_killed_is_finished_by_the_same_command(at: Tables) -> None:
    prepared(at, "first", "ab")
    prepared(at, "second", "c")
    commits: list[None] = []

    def killed_before_the_second_commit() -> None:
        commits.append(None)
        if len(commits) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        restore_tables.restore(at, 0, killed_before_the_second_commit)
    restore_tables.restore(at, 0, lambda: None)
    chunks = log_of(at.chunks)
    assert (documents_in(at), chunks.version) == (
        "ab",
        Note.parse(next(log_of(at.documents).notes(1))[1]).chunks_version,
    )


def test_a_version_that_no_preparation_left_is_refused_with_those_that_are_there(
    at: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(at, "first", "ab")
    with pytest.raises(NotFound, match=r"No preparation left .* at version 7\. These can be restored: 0\."):
        restore_tables.restore(at, 7, lambda: None)
    assert restore_tables.main([at.chunks]) == 0
    assert "version 0, prepared_at 20" in capsys.readouterr().out
    assert restore_tables.main([f"{at.chunks}/nothing", "--version", "1"]) == 2
    assert "There is no Delta table at" in capsys.readouterr().err


class Versions:
    """A registry of one prompt: two versions pin the table, one pins none, and one has a broken tag."""

    def names(self) -> list[tuple[str, str]]:
        return [("prompt", "qa")]

    def entry(self, name: str) -> RegistryEntry:
        return RegistryEntry("prompt", name, {"Production": 2})

    def versions(self, name: str) -> list[RegistryVersion]:
        tags = [{KNOWLEDGE_BASE: json.dumps({"table": "t", "delta_version": n, "index": "i"})} for n in (3, 5)]
        every = [*tags, {}, {KNOWLEDGE_BASE: "broken"}]
        return [RegistryVersion("prompt", name, number, "Hi", each) for number, each in enumerate(every, 1)]


def test_a_restore_names_the_releases_that_pin_a_version_of_the_table() -> None:
    assert list(restore_tables.pins(Versions(), "t")) == [  # type: ignore[arg-type]
        {"release": "qa/1", "aliases": [], "delta_version": 3},
        {"release": "qa/2", "aliases": ["Production"], "delta_version": 5},
    ]
    assert list(restore_tables.pins(Versions(), "another")) == []  # type: ignore[arg-type]
