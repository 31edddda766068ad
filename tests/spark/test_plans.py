"""A preparation is a plan first: what would change, and whether that is more than the caller allowed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from mlflow_project.errors import InvalidData, Refused
from mlflow_project.rules.quality.selection import Quality
from spark_jobs import llm_data_prep, restore_tables
from spark_jobs.plan import Limits
from spark_jobs.preparation import Counts, Request, plan, prepare
from spark_jobs.tables import Tables
from tests.spark.conftest import NO_LIMITS, document, write_lines
from tests.spark.test_preparation import Prepared, rows_of, run_until_commit, versions

QUESTIONS = [{"id": f"q{n}", "question": "Which one?", "answers": ["that"]} for n in range(30)]
DEFAULT = Limits()


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_wrong_file_leaves_the_tables_as_they_were_and_the_refusal_says_how_to_go_on(
    spark: SparkSession, prepared: Prepared, tmp_path: Path
) -> None:
    prepared([document(number) for number in range(12)])
    before, files = versions(tmp_path), files_below(tmp_path / "chunks")
    wrong = write_lines(tmp_path / "questions.jsonl", QUESTIONS)
    with pytest.raises(Refused) as refused:
        prepare(spark, Request(wrong, f"{tmp_path}/chunks"))
    said = str(refused.value)
    assert "12 of 12 documents in the table would be deleted (100.0%; at most 10.0% may be)" in said
    assert "30 of 30 rows are rejected (100.0%; at most 20.0% may be). Reasons: missing_text 30." in said
    assert re.search(r"The first one, in \S+questions\.jsonl, line 1: The row has no field 'text'\.", said)
    assert (versions(tmp_path), files_below(tmp_path / "chunks")) == (before, files)
    command = said.rsplit("To go on: ", 1)[1]
    assert command == f"switchyard prepare {wrong} {tmp_path}/chunks --max-deleted 1 --max-rejected 1"
    options = llm_data_prep.arguments(shlex.split(command)[2:])
    assert prepare(spark, llm_data_prep.request(options)).deleted == 12


def test_the_limits_are_a_tenth_of_the_documents_and_a_fifth_of_the_rows(prepared: Prepared) -> None:
    ten = [document(number) for number in range(10)]
    prepared(ten)
    assert prepared(ten[:9], limits=DEFAULT).deleted == 1
    with pytest.raises(Refused, match=r"1 of 9 documents .* --max-deleted 0\.112$"):
        prepared(ten[:8], limits=DEFAULT)
    assert prepared([*ten[:9], b"{", b"{"], limits=DEFAULT).quarantined == {"not_json": 2}
    with pytest.raises(Refused, match=r"3 of 12 rows .* --max-rejected 0\.25$"):
        prepared([*ten[:9], b"{", b"{", b"{"], limits=DEFAULT)


def test_rows_that_a_quality_option_drops_count_against_no_limit(prepared: Prepared) -> None:
    rows = [{"id": f"d{number}", "text": "The same text. " * 9} for number in range(6)]
    counts = prepared(rows, quality=Quality(duplicates="exact"), limits=DEFAULT)
    assert (counts.documents, counts.quarantined) == (1, {"exact_duplicate": 5})


def test_a_dry_run_shows_the_plan_and_writes_nothing(spark: SparkSession, prepared: Prepared, tmp_path: Path) -> None:
    raw = write_lines(tmp_path / "new.jsonl", [document(0, "Changed. " * 90), document(2), document(9), b"broken"])
    nothing = files_below(tmp_path)
    first = plan(spark, Request(raw, f"{tmp_path}/chunks"))
    assert (first.new, first.quarantined, files_below(tmp_path)) == (3, {"not_json": 1}, nothing)
    prepared([document(number) for number in range(4)])
    before = files_below(tmp_path)
    found = plan(spark, Request(raw, f"{tmp_path}/chunks"))
    assert (found.new, found.changed, found.deleted, found.unchanged) == (1, 1, 2, 1)
    assert str(found) == "1 new, 1 changed, 2 deleted and 1 unchanged documents; 1 of 4 rows rejected"
    assert found.objection(DEFAULT).startswith("2 of 4 documents in the table would be deleted (50.0%")
    assert files_below(tmp_path) == before


def test_an_appended_input_adds_and_replaces_and_deletes_nothing(prepared: Prepared, tmp_path: Path) -> None:
    prepared([document(number) for number in range(4)])
    conflicting = {**document(2), "text": "Another text with the same id."}
    rows = [document(0, "Changed. " * 90), document(8), document(2), conflicting, b"broken"]
    counts = prepared(rows, append=True, limits=Limits(deleted=0, rejected=1))
    assert (counts.new, counts.changed, counts.deleted) == (1, 1, 0)
    assert counts.quarantined == {"conflicting_id": 2, "not_json": 1}
    kept = rows_of(tmp_path / "chunks_documents", "document_id, text")
    assert [row["document_id"] for row in kept] == ["d0", "d1", "d2", "d3", "d8"]
    assert (kept[0]["text"][:7], kept[2]["text"]) == ("Changed", document(2)["text"])
    before = versions(tmp_path)
    assert prepared(rows, append=True).documents == 2
    assert versions(tmp_path)[:2] == before[:2]


def test_the_quarantine_of_an_appended_input_keeps_what_other_files_left(
    spark: SparkSession, prepared: Prepared, tmp_path: Path
) -> None:
    prepared([document(1), b"broken"])
    more = write_lines(tmp_path / "more.jsonl", [document(2), b"broken too"])
    for _ in range(2):
        prepare(spark, Request(more, f"{tmp_path}/chunks", append=True, limits=NO_LIMITS))
        kept = rows_of(tmp_path / "chunks_quarantine", "raw")
        assert [row["raw"] for row in kept] == [b"broken", b"broken too"]
    prepared([document(1), document(2)])
    assert rows_of(tmp_path / "chunks_quarantine") == []


def test_an_appended_input_is_refused_where_it_cannot_mend_what_a_cut_off_run_left(
    spark: SparkSession, prepared: Prepared, tmp_path: Path
) -> None:
    prepared([document(1)])
    second = write_lines(tmp_path / "second.jsonl", [document(1), document(2)])
    run_until_commit(1, spark, second, tmp_path / "chunks")  # chunks are committed, documents are not
    third = write_lines(tmp_path / "third.jsonl", [document(3)])
    with pytest.raises(Refused, match=r"left 1 documents of .* half written"):
        prepare(spark, Request(third, f"{tmp_path}/chunks", append=True))
    assert prepare(spark, Request(second, f"{tmp_path}/chunks", append=True)).documents == 2
    assert prepare(spark, Request(third, f"{tmp_path}/chunks", append=True)).new == 1
    chunked = {row["source_document_id"] for row in rows_of(tmp_path / "chunks")}
    assert chunked == {row["document_id"] for row in rows_of(tmp_path / "chunks_documents")} == {"d1", "d2", "d3"}
    with pytest.raises(InvalidData, match="leave out --append, or --duplicates"):
        prepared([document(1)], append=True, quality=Quality(duplicates="near"))


def test_the_next_run_goes_on_from_a_restored_table(prepared: Prepared, tmp_path: Path) -> None:
    rows = [document(1), document(2), b"broken"]
    first: Counts = prepared(rows)
    wanted = {suffix: rows_of(Path(f"{tmp_path}/chunks{suffix}")) for suffix in ("", "_documents", "_quarantine")}
    prepared([document(3)])
    restore_tables.restore(Tables(f"{tmp_path}/chunks"), first.delta_version, lambda: None)
    for suffix, held in wanted.items():
        assert rows_of(Path(f"{tmp_path}/chunks{suffix}")) == held
    before = versions(tmp_path)
    assert prepared(rows).unchanged == 2
    assert versions(tmp_path) == before


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("in out --max-deleted 0.5 --size 300", "switchyard prepare in out --size 300"),
        ("in out --max-rejected=0.5 --json --append", "switchyard prepare in out --append"),
        ("'my texts' out", "switchyard prepare 'my texts' out"),
    ],
)
def test_a_refusal_repeats_what_was_typed_without_the_limits(typed: str, kept: str) -> None:
    assert llm_data_prep.arguments(shlex.split(typed)).command == kept
