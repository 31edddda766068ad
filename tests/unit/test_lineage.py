"""What made a release live at a time, and which raw line gave a document: no store and no registry."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.lineage.live_then import made_live
from mlflow_project.lineage.raw_rows import check_raw
from mlflow_project.lineage.steps import Broken, Unrecorded
from mlflow_project.rules.chunking.records import Document, Fields, read_line
from mlflow_project.settings import StoreSettings


def record(serial: int, minute: int, kind: Any, version: int = 1, **fields: Any) -> LedgerRecord:
    time = f"2026-11-24T10:{minute:02d}:00.000Z"
    made = LedgerRecord(serial, "", "", time, kind, "prompt", "qa", "user:anna", version=version, digest=f"d{version}")
    return replace(made, alias="Production", **fields)


FLIPS = [
    record(1, 0, "seal"),
    record(2, 10, "intent"),
    record(3, 11, "flip", intent=2),
    record(4, 20, "seal", 2),
    record(5, 30, "intent", 2),
    record(6, 35, "flip", 2, intent=5),
]


@pytest.mark.parametrize(
    ("version", "at", "seconds", "serial"),
    [
        (1, "10:12", 1, 3),
        (1, "10:32", 1, 3),  # a flip to version 2 is under way
        (2, "10:32", 1, 5),  # workers serve it before the flip is recorded
        (2, "10:40", 1, 6),
        (1, "10:36", 90, 3),  # it began before the flip
        (1, "10:35", 0, 3),  # clocks differ
        (1, "10:09", 0, 2),
    ],
)
def test_an_answer_is_by_the_record_that_made_its_release_live(
    version: int, at: str, seconds: float, serial: int
) -> None:
    found, sentence = made_live(FLIPS, (version, f"d{version}"), f"2026-11-24T{at}:30.000Z", seconds)
    assert (found, "anna" in sentence) == (serial, True)


@pytest.mark.parametrize(
    ("release", "at", "said"),
    [
        ((1, "d1"), "2026-11-24T11:00:00.000Z", r"qa/2 \(Production\) was live .* made live last by record 3"),
        ((2, "d2"), "2026-11-24T10:22:00.000Z", r"qa/1 \(Production\) was live"),
        ((1, "another"), "2026-11-24T10:12:00.000Z", r"qa/1 \(Production\) was live"),
        ((1, "d1"), "2026-11-24T09:00:00.000Z", "nothing of this name was live"),
        ((1, "d1"), "yesterday", "no time"),
    ],
)
def test_a_release_that_was_not_live_is_no_guess(release: tuple[int, str], at: str, said: str) -> None:
    with pytest.raises(Broken, match=said):
        made_live(FLIPS, release, at, 1)


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore(StoreSettings(s3_access_key="nobody", s3_secret_key="asks"))


def row_of(line: bytes, file: Path | str, fields: Fields = Fields(), number: int = 0) -> dict[str, Any]:
    """The row of the documents table that a preparation makes of a line."""
    read = read_line(line, fields)
    assert isinstance(read, Document), read
    return {**read._asdict(), "source_file": str(file), "source_block": 0, "source_line": number}


LINES = [
    b'{"id": "a", "text": "One.", "title": "First"}',
    b'{"id": "b", "text": "Zwei \\u00fcber.", "language": "de", "kind": "note"}',
    b'{"doc": "c", "body": "Three.", "head": "Third", "kind": "note"}',
    b'{"id": "d", "messages": [{"role": "user", "content": "Four?"}]}',
]


@pytest.mark.parametrize("packed", [False, True])
def test_a_document_is_found_on_its_line_whatever_the_fields_are_called(
    store: ObjectStore, tmp_path: Path, packed: bool
) -> None:
    """The recorded number leads there; where it is wrong, as after a line was put in, the document itself does."""
    file = tmp_path / "raw.jsonl"
    content = b"\n".join(LINES)
    file.write_bytes(gzip.compress(content) if packed else content)
    own = Fields("doc", "body", "head")
    for number, line in enumerate(LINES):
        row = row_of(line, f"file:{file}", own if number == 2 else Fields(), number)
        for said in (number, 0, 99):
            assert check_raw(store, {**row, "source_line": said}) == f"file:{file}, line {number + 1}"


def test_a_changed_or_missing_raw_row_is_broken_and_an_unrecorded_place_is_unknown(
    store: ObjectStore, tmp_path: Path
) -> None:
    file = tmp_path / "raw.jsonl"
    row = row_of(LINES[0], file)
    with pytest.raises(Broken, match="is gone"):
        check_raw(store, row)
    for content in (LINES[0].replace(b"One", b"Two"), b"", b"no JSON", b'["a"]', LINES[1], b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(Broken, match=r"no row of .* gives this document"):
            check_raw(store, row)
    file.write_bytes(b"a,b,c")
    with pytest.raises(Unrecorded, match="only a preparation reads"):
        check_raw(store, {**row, "metadata": json.dumps({"format": "pdf"})})
    for place in ({}, {"source_file": None}):
        with pytest.raises(Unrecorded, match="did not record where"):
            check_raw(store, {"metadata": "{}", **place})
    with pytest.raises(Unrecorded, match="a file system that this command does not read"):
        check_raw(store, {**row, "source_file": "hdfs://host/raw.jsonl"})


def test_a_text_file_that_is_the_document_has_no_line(store: ObjectStore, tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("# Title\n\nText.", encoding="utf-8")
    row = {**row_of(LINES[0], file), "text": "# Title\n\nText."}
    assert check_raw(store, row) == str(file)


def test_a_row_of_parquet_is_found_by_its_id_and_text_and_other_packings_are_unknown(
    store: ObjectStore, tmp_path: Path
) -> None:
    file = tmp_path / "part-0.parquet"
    row = row_of(LINES[0], file)
    pq.write_table(pa.table({"name": ["b", "a"], "body": ["One.", "One."], "n": [1, 2]}), file)
    assert check_raw(store, row) == f"{file}, row 2"
    pq.write_table(pa.table({"name": ["a"], "body": ["Two."]}), file)
    with pytest.raises(Broken, match=r"no row of .* gives this document"):
        check_raw(store, row)
    with pytest.raises(Unrecorded, match="packed in a way"):
        check_raw(store, {**row, "source_file": f"{tmp_path}/raw.jsonl.bz2"})


def test_a_document_that_came_over_kafka_is_found_in_its_raw_table(store: ObjectStore, tmp_path: Path) -> None:
    row = {**row_of(LINES[0], "raw-documents/1/7")}
    table = str(tmp_path / "raw")
    said = {"topic": ["raw-documents"] * 2, "partition": [1, 1], "offset": [7, 8]}
    values = [line.decode() for line in LINES[:2]]
    write_deltalake(table, pa.table({**said, "value": values}))
    assert check_raw(store, row, [table]) == f"topic raw-documents, partition 1, offset 7, in the raw table {table}"
    with pytest.raises(Broken, match="has no such record that gives this document"):
        check_raw(store, {**row, "source_file": "raw-documents/1/8"}, [table])
    with pytest.raises(Unrecorded, match="topic raw-documents, partition 1, offset 7; no commit"):
        check_raw(store, row)
