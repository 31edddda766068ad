"""Text preparation on real Spark and Delta: everything accounted for, and only what changed is touched."""

from __future__ import annotations

import gzip
import json
import shutil
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from mlflow_project.adapters.delta_tables import ask, batches, open_table
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import InvalidData, NotFound, Refused
from mlflow_project.lineage.raw_rows import check_raw
from mlflow_project.rules.chunking.splitter import Splitter
from mlflow_project.rules.quality.selection import Quality
from mlflow_project.settings import StoreSettings
from spark_jobs.folders import Folder, folder
from spark_jobs.plan import Limits
from spark_jobs.preparation import Counts, Request, prepare
from spark_jobs.session import translated
from spark_jobs.table_log import TableLog
from spark_jobs.tables import DOCUMENTS, DOCUMENTS_KEY
from tests.conftest import ROOT
from tests.spark.conftest import NO_LIMITS, document, write_lines
from tests.unit.test_chunking_records import MALFORMED

Prepared = Callable[..., Counts]
CONTENT = 'chunk_id, source_document_id, text_content, start, "end", "index", title, document_hash, splitter'


def rows_of(table: Path, columns: str = "*", order: str = "1") -> list[dict[str, Any]]:
    """A table's rows as delta-rs reads them."""
    query = f"SELECT {columns} FROM t ORDER BY {order}"
    return [row for batch in batches(query, {"t": DeltaTable(str(table))}) for row in batch.to_pylist()]


def versions(tmp_path: Path) -> list[int]:
    return [DeltaTable(f"{tmp_path}/chunks{suffix}").version() for suffix in ("", "_documents", "_quarantine")]


def test_ten_thousand_malformed_rows_are_all_accounted_for(spark: SparkSession, tmp_path: Path) -> None:
    bad = [line for line, _ in MALFORMED if b"\n" not in line]
    rows = [*bad, *[line for line in bad if len(line) < 1_000] * 400][:9_996]
    rows[17] = b'{"id": "long", "text": "' + b"x" * 1_000_000  # a line of 1 MB
    rows += [document(1), document(1), document(2), document(2, "Another text with the same id.")]
    source = write_lines(tmp_path / "raw.jsonl", rows)
    spark.conf.set("spark.sql.files.maxPartitionBytes", "200k")
    try:
        counts = prepare(spark, Request(source, str(tmp_path / "chunks"), limits=NO_LIMITS))
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")
    assert counts.read == 10_000 == counts.documents + sum(counts.quarantined.values())
    assert counts.documents == 1
    assert counts.quarantined["repeated_document"] == 1
    assert counts.quarantined["conflicting_id"] == 2
    kept = rows_of(tmp_path / "chunks_quarantine", "line, raw, reason", "line")
    lines = (tmp_path / "raw.jsonl").read_bytes().split(b"\n")
    assert all(lines[row["line"] - 1] == row["raw"] for row in kept)
    assert Counter(row["reason"] for row in kept) == counts.quarantined


def test_every_table_is_read_by_another_reader_and_chunks_are_slices_of_documents(
    prepared: Prepared, tmp_path: Path, shared_data: Path
) -> None:
    pages = sorted((ROOT / "docs").rglob("*.md"))
    lines = [json.dumps({"id": str(page), "title": page.stem, "text": page.read_text()}).encode() for page in pages]
    if shared_data.is_dir():
        lines += (shared_data / "xquad" / "documents.jsonl").read_bytes().splitlines()
    counts = prepared([*lines, b"broken"])
    texts = {row["document_id"]: row["text"] for row in rows_of(tmp_path / "chunks_documents")}
    chunks = rows_of(tmp_path / "chunks")
    assert len(texts) == counts.documents == len(lines)
    assert len(chunks) == counts.chunks
    assert all(texts[row["source_document_id"]][row["start"] : row["end"]] == row["text_content"] for row in chunks)
    assert len(rows_of(tmp_path / "chunks_quarantine")) == 1


def test_each_document_names_its_raw_row_also_in_a_table_of_an_older_release(
    spark: SparkSession, prepared: Prepared, tmp_path: Path
) -> None:
    prepared([document(0), b"broken", document(1)])
    table = tmp_path / "chunks_documents"
    file, store = f"file:{tmp_path}/raw.jsonl", ObjectStore(StoreSettings(s3_access_key="none", s3_secret_key="none"))
    assert [check_raw(store, row) for row in rows_of(table)] == [f"{file}, line 1", f"{file}, line 3"]
    note = DeltaTable(str(table)).history(1)[0]["userMetadata"]
    older = spark.read.format("delta").load(str(table)).drop("source_file", "source_block", "source_line")
    writer = older.write.format("delta").mode("overwrite").option("overwriteSchema", "true")
    writer.option("userMetadata", note).save(str(table))
    cut_at = rows_of(tmp_path / "chunks", "min(processed_at) AS first")
    counts = prepared([document(0), document(1, "Another text."), document(2)])
    assert rows_of(tmp_path / "chunks", "min(processed_at) AS first") == cut_at, (
        "an unchanged document is not cut again"
    )
    assert (counts.unchanged, counts.changed, counts.new) == (1, 1, 1)
    rows = rows_of(table, "document_id, source_line")
    assert [(row["document_id"], row["source_line"]) for row in rows] == [("d0", 0), ("d1", 1), ("d2", 2)]


def test_an_unchanged_corpus_in_another_order_commits_nothing(prepared: Prepared, tmp_path: Path) -> None:
    rows = [document(number) for number in range(20)]
    prepared([*rows, b"broken"])
    before = versions(tmp_path)
    counts = prepared([*reversed(rows), b"broken"])
    assert (counts.unchanged, counts.new, counts.changed, counts.deleted) == (20, 0, 0, 0)
    assert versions(tmp_path) == before


def test_as_many_known_rows_as_there_are_documents_are_not_taken_for_the_same_corpus(
    prepared: Prepared, tmp_path: Path
) -> None:
    first, second, third = (document(number) for number in range(3))
    prepared([first, second, third])
    repeated = prepared([first, first, second])
    assert (repeated.unchanged, repeated.deleted, repeated.quarantined) == (2, 1, {"repeated_document": 1})
    conflicting = prepared([first, {**first, "text": "Something else."}, second])
    assert (conflicting.unchanged, conflicting.deleted, conflicting.quarantined) == (1, 1, {"conflicting_id": 2})
    assert {row["document_id"] for row in rows_of(tmp_path / "chunks_documents")} == {"d1"}


def test_an_unchanged_corpus_loses_its_duplicates_as_soon_as_they_are_not_wanted(
    prepared: Prepared, tmp_path: Path
) -> None:
    rows = [document(0), {**document(0), "id": "d1"}]
    assert prepared(rows).documents == 2
    counts = prepared(rows, quality=Quality(duplicates="exact"))
    assert (counts.unchanged, counts.deleted, counts.quarantined) == (1, 1, {"exact_duplicate": 1})
    assert {row["source_document_id"] for row in rows_of(tmp_path / "chunks")} == {"d0"}


def test_the_quarantine_follows_the_input_also_where_no_document_changed(
    spark: SparkSession, prepared: Prepared, tmp_path: Path
) -> None:
    quarantine = f"{tmp_path}/chunks_quarantine"
    lines = [document(1), b"broken"]
    prepared(lines)
    first = versions(tmp_path)
    prepared(lines)
    assert versions(tmp_path) == first
    spark.read.format("delta").load(quarantine).limit(0).write.format("delta").mode("overwrite").save(quarantine)
    for rows, line in ((lines, 2), (lines[::-1], 1), (lines[::-1], 1)):
        assert prepared(rows).unchanged == 1
        assert [row["line"] for row in rows_of(Path(quarantine), "line")] == [line]
    assert versions(tmp_path) == [*first[:2], first[2] + 3]


def test_the_quarantine_of_another_writer_is_not_taken_for_this_ones(
    spark: SparkSession, prepared: Prepared, tmp_path: Path
) -> None:
    quarantine = f"{tmp_path}/chunks_quarantine"
    source = write_lines(tmp_path / "raw.jsonl", [document(1), b"broken"])
    commits: list[str] = []

    def may_commit() -> None:
        commits.append("quarantine, chunks or documents")
        if len(commits) == 2:
            spark.read.format("delta").load(quarantine).limit(0).write.format("delta").mode("overwrite").save(
                quarantine
            )

    prepare(spark, Request(source, str(tmp_path / "chunks"), limits=NO_LIMITS), may_commit)
    assert rows_of(Path(quarantine)) == []
    assert prepared([document(1), b"broken"]).unchanged == 1
    assert [row["line"] for row in rows_of(Path(quarantine))] == [2]


def test_an_unchanged_corpus_is_counted_also_where_the_last_commit_notes_less_than_ours_do(
    prepared: Prepared, tmp_path: Path
) -> None:
    counts = prepared([document(1)])
    before = versions(tmp_path)
    commit = tmp_path / "chunks_documents" / "_delta_log" / f"{before[1]:020d}.json"
    said = commit.read_text().splitlines(keepends=True)
    info = json.loads(said[0])
    info["commitInfo"]["userMetadata"] = json.dumps({"chunks_version": before[0]})
    commit.write_text("".join([json.dumps(info, separators=(",", ":")), "\n", *said[1:]]))
    again = prepared([document(1)])
    assert (again.unchanged, again.chunks, versions(tmp_path)) == (1, counts.chunks, before)


@pytest.mark.parametrize("feature", ["deletionVectors", "vacuumProtocolCheck"])
def test_a_table_with_features_that_the_job_does_not_write_is_refused_before_any_work(
    spark: SparkSession, prepared: Prepared, tmp_path: Path, feature: str
) -> None:
    prepared([document(1)])
    documents = f"delta.`{tmp_path}/chunks_documents`"
    spark.sql(f"ALTER TABLE {documents} SET TBLPROPERTIES ('delta.feature.{feature}' = 'supported')")
    before = versions(tmp_path)
    with pytest.raises(InvalidData, match=rf"chunks_documents uses Delta features .*{feature}.* DROP FEATURE"):
        prepared([document(2)])
    assert versions(tmp_path) == before


def test_only_what_changed_is_touched(prepared: Prepared, tmp_path: Path) -> None:
    prepared([document(number) for number in range(20)])
    before = {row["chunk_id"]: row["processed_at"] for row in rows_of(tmp_path / "chunks")}
    malformed = {**document(1), "text": ["a document that is malformed in the second run"]}
    counts = prepared([document(0, "Changed. " * 100), malformed, *(document(number) for number in range(2, 21))])
    assert counts.quarantined == {"text_not_text": 1}
    assert (counts.unchanged, counts.new, counts.changed, counts.deleted) == (18, 1, 1, 1)
    rows = rows_of(tmp_path / "chunks")
    untouched = [row for row in rows if row["source_document_id"] not in ("d0", "d20")]
    assert all(before[row["chunk_id"]] == row["processed_at"] for row in untouched)
    assert {row["source_document_id"] for row in rows} == {"d0", *(f"d{number}" for number in range(2, 21))}


def written_as_before(spark: SparkSession, table: Path, key: str, **more: Any) -> None:
    """The table as Spark's own writer left it in former versions: INT96 moments, and columns that are gone since."""
    rows = spark.read.format("delta").load(str(table))
    for name, value in more.items():
        rows = rows.withColumn(name, f.lit(value))
    rows = rows.repartition(2, key)
    spark.conf.set("spark.sql.parquet.outputTimestampType", "INT96")
    try:
        rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(str(table))
    finally:
        spark.conf.unset("spark.sql.parquet.outputTimestampType")


def test_tables_of_a_former_version_are_brought_up_to_date(
    spark: SparkSession, prepared: Prepared, tmp_path: Path
) -> None:
    prepared([document(number) for number in range(8)])
    written_as_before(spark, tmp_path / "chunks", "source_document_id")
    written_as_before(spark, tmp_path / "chunks_documents", "document_id", chunks=3)
    before = {row["chunk_id"]: row["processed_at"] for row in rows_of(tmp_path / "chunks")}
    counts = prepared([document(0, "Changed. " * 90), *(document(number) for number in range(2, 9))])
    assert (counts.unchanged, counts.new, counts.changed, counts.deleted) == (6, 1, 1, 1)
    prepare(spark, Request(str(tmp_path / "raw.jsonl"), str(tmp_path / "fresh"), limits=NO_LIMITS))
    assert rows_of(tmp_path / "chunks", CONTENT) == rows_of(tmp_path / "fresh", CONTENT)
    text = "document_id, title, text, document_hash, splitter"
    assert rows_of(tmp_path / "chunks_documents", text) == rows_of(tmp_path / "fresh_documents", text)
    untouched = [row for row in rows_of(tmp_path / "chunks") if row["source_document_id"] not in ("d0", "d8")]
    assert all(before[row["chunk_id"]] == row["processed_at"] for row in untouched)


def test_spark_and_delta_rs_see_the_same_files_after_each_commit(
    spark: SparkSession, prepared: Prepared, tmp_path: Path
) -> None:
    for rows in ([document(n) for n in range(6)], [document(0, "Changed. " * 90), *(document(n) for n in range(1, 5))]):
        prepared(rows)
        for suffix in ("", "_documents"):
            sizes = pa.table(DeltaTable(f"{tmp_path}/chunks{suffix}").get_add_actions())["size_bytes"].to_pylist()
            detail = spark.sql(f"DESCRIBE DETAIL delta.`{tmp_path}/chunks{suffix}`").first()
            assert (detail["numFiles"], detail["sizeInBytes"]) == (len(sizes), sum(sizes))


class Stopped(Exception):
    """What ends a run before one of its commits."""


def run_until_commit(number: int, spark: SparkSession, source: str, output: Path) -> None:
    """Prepare, and stop before this commit (counted from 0)."""
    commits = iter(range(number))

    def may_commit() -> None:
        if next(commits, None) is None:
            raise Stopped

    with pytest.raises(Stopped):
        prepare(spark, Request(source, str(output), limits=NO_LIMITS), may_commit)


def copied_tables(tmp_path: Path, name: str) -> Path:
    """The prepared tables as they are, elsewhere."""
    for suffix in ("", "_documents", "_quarantine"):
        shutil.copytree(f"{tmp_path}/chunks{suffix}", f"{tmp_path}/{name}{suffix}")
    return tmp_path / name


def test_a_run_that_stops_before_any_commit_is_finished_by_the_next_or_taken_back(
    spark: SparkSession, prepared: Prepared, tmp_path: Path
) -> None:
    old = [document(number) for number in range(6)]
    new = write_lines(tmp_path / "new.jsonl", [document(0, "Changed. " * 90), *old[2:], document(9), b"broken"])
    prepared(old)
    before = rows_of(tmp_path / "chunks", CONTENT)
    undisturbed = copied_tables(tmp_path, "undisturbed")
    prepare(spark, Request(new, str(undisturbed), limits=NO_LIMITS))
    wanted = rows_of(undisturbed, CONTENT)
    stopped = copied_tables(tmp_path, "stopped")
    for commit in (0, 1, 1):  # each run goes on from where the one before was stopped: quarantine stands after one
        run_until_commit(commit, spark, new, stopped)
    prepare(spark, Request(new, str(stopped), limits=NO_LIMITS))
    assert rows_of(stopped, CONTENT) == wanted
    run_until_commit(2, spark, new, tmp_path / "chunks")
    assert rows_of(tmp_path / "chunks", CONTENT) == wanted
    assert prepared(old).documents == 6
    assert rows_of(tmp_path / "chunks", CONTENT) == before


@pytest.mark.long
def test_a_place_that_hadoop_alone_can_reach_holds_the_same_tables(
    spark: SparkSession, prepared: Prepared, tmp_path: Path
) -> None:
    (tmp_path / "mounted").mkdir()
    settings = spark._jsc.hadoopConfiguration()
    settings.set("fs.viewfs.mounttable.default.link./mount", f"file://{tmp_path}/mounted")
    for rows in (
        [document(n) for n in range(6)],
        [document(0, "Changed. " * 90), *(document(n) for n in range(1, 5)), document(1)],
    ):
        prepared(rows)
        prepare(spark, Request(str(tmp_path / "raw.jsonl"), "viewfs:///mount/chunks", limits=NO_LIMITS))
        assert rows_of(tmp_path / "mounted" / "chunks", CONTENT) == rows_of(tmp_path / "chunks", CONTENT)


def test_tables_in_the_object_store_are_those_of_the_local_disk_also_where_documents_repeat_or_change(
    spark: SparkSession, prepared: Prepared, tmp_path: Path
) -> None:
    place = f"s3a://curated-data-bucket/{uuid.uuid4().hex}/chunks"
    for rows in (
        [*(document(n) for n in range(6)), document(3)],
        [document(0, "Changed. " * 90), *(document(n) for n in range(1, 5)), document(1)],
    ):
        local = prepared(rows)
        stored = prepare(spark, Request(str(tmp_path / "raw.jsonl"), place, limits=NO_LIMITS))
        assert (stored.quarantined, stored.chunks) == (local.quarantined, local.chunks)
        found = [
            row
            for batch in batches(f"SELECT {CONTENT} FROM t ORDER BY 1", {"t": open_table(place)})
            for row in batch.to_pylist()
        ]
        assert found == rows_of(tmp_path / "chunks", CONTENT)


def test_delta_rs_asks_the_store_that_spark_was_told_of(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"s3a://curated-data-bucket/{uuid.uuid4().hex} of another"
    spark.range(3).write.format("delta").option("delta.enableDeletionVectors", "false").save(place)
    monkeypatch.setenv("SWITCHYARD_S3_ENDPOINT", "http://127.0.0.1:9")
    answer = TableLog(spark, folder(spark, place), DOCUMENTS, DOCUMENTS_KEY).ask("SELECT count(*) FROM here")
    assert answer is not None
    assert answer[0][0].as_py() == 3


def test_of_two_writers_to_a_place_that_delta_rs_does_not_reach_the_second_is_refused(
    spark: SparkSession, tmp_path: Path
) -> None:
    where = Folder(f"file:{tmp_path}/copied")
    for _ in range(2):
        first, second = (TableLog(spark, where, DOCUMENTS, DOCUMENTS_KEY) for _ in range(2))
        first.commit([], {})
        with pytest.raises(Refused, match="Another writer changed"):
            second.commit([], {})
    assert DeltaTable(f"{tmp_path}/copied").version() == 1


@pytest.mark.parametrize(
    "name", ["50%25 #ä", *(pytest.param(name, marks=pytest.mark.long) for name in ("a%20b", "docs#2"))]
)
def test_a_table_may_have_any_name(spark: SparkSession, prepared: Prepared, tmp_path: Path, name: str) -> None:
    for rows in ([document(1), document(2)], [document(1, "Changed. " * 90), document(3)]):
        prepared(rows)
        prepare(spark, Request(f"{tmp_path}/raw.jsonl", f"{tmp_path}/{name}", limits=NO_LIMITS))
    found = spark.read.format("delta").load(f"{tmp_path}/{name}").orderBy("chunk_id").select("chunk_id").collect()
    assert [row[0] for row in found] == [row["chunk_id"] for row in rows_of(tmp_path / "chunks", "chunk_id")]


def test_too_many_rejected_rows_leave_the_live_tables_untouched(prepared: Prepared, tmp_path: Path) -> None:
    prepared([document(1), document(2)])
    before = versions(tmp_path)
    with pytest.raises(Refused, match=r"66\.7%"):
        prepared([document(3), b"broken", b"broken too"], limits=Limits(rejected=0.5))
    assert versions(tmp_path) == before


def test_another_splitter_on_a_table_is_refused(prepared: Prepared) -> None:
    prepared([document(1)])
    with pytest.raises(InvalidData, match="do not mix"):
        prepared([document(1)], splitter=Splitter(300, 0))


def test_missing_input_is_named(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no input at"):
        prepare(spark, Request(str(tmp_path / "nothing"), str(tmp_path / "chunks"), limits=NO_LIMITS))


def test_pages_in_gzip_are_named_and_not_taken_for_broken_json(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.md.gz").write_bytes(gzip.compress(b"# Alpha"))
    with pytest.raises(InvalidData, match=r"a\.md\.gz .* is compressed"):
        prepare(spark, Request(str(tmp_path / "pages"), str(tmp_path / "chunks"), limits=NO_LIMITS))


def test_a_packed_file_that_is_cut_off_is_named(spark: SparkSession, tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps(document(1)).encode())
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "whole.jsonl.gz").write_bytes(packed)
    (tmp_path / "raw" / "cut off.jsonl.gz").write_bytes(packed[:-20])
    with pytest.raises(InvalidData, match=r"off\.jsonl\.gz cannot be read: EOFException"), translated("Preparing"):
        prepare(spark, Request(str(tmp_path / "raw"), str(tmp_path / "chunks"), limits=NO_LIMITS))


def test_an_empty_file_is_a_row_of_the_quarantine_and_an_empty_folder_is_a_mistake(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "raw.jsonl").write_bytes(b"")
    request = Request(str(tmp_path / "raw.jsonl"), str(tmp_path / "chunks"))
    with pytest.raises(Refused, match=r"1 of 1 rows are rejected .* empty_file 1\. The first one, in \S+raw.jsonl"):
        prepare(spark, request)
    counts = prepare(spark, replace(request, limits=NO_LIMITS))
    assert (counts.read, counts.documents, counts.chunks, counts.quarantined) == (1, 0, 0, {"empty_file": 1})
    assert [row["line"] for row in rows_of(tmp_path / "chunks_quarantine")] == [1]
    told = ["read", "documents", "chunks", "quarantined", "new", "unchanged", "changed", "deleted"]
    assert list(counts.to_dict()) == [*told, "delta_version", "seconds"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidData, match="no file of a known kind"):
        prepare(spark, Request(str(tmp_path / "empty"), str(tmp_path / "chunks"), limits=NO_LIMITS))


def test_an_output_that_cannot_be_written_is_refused_before_any_work(spark: SparkSession, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "raw.jsonl", [document(1)])
    strangers, other = tmp_path / "strangers", tmp_path / "other"
    strangers.mkdir()
    (strangers / "thesis.doc").write_text("mine")
    spark.range(1).write.format("delta").save(str(other))
    refusals = {
        source: "is a file",
        f"{source}/below": "Writing to",
        str(strangers): "thesis.doc",
        str(other): "chunk_id",
    }
    for output, sentence in refusals.items():
        with pytest.raises(InvalidData, match=sentence):
            prepare(spark, Request(source, output, limits=NO_LIMITS))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "raw.jsonl", "strangers"]


def test_a_mistake_in_a_query_is_a_sentence(prepared: Prepared, tmp_path: Path) -> None:
    prepared([document(1)])
    for query in (f'SELECT 1 / "start" FROM delta.`{tmp_path}/chunks`', "SELECT 1 / 0", "SELECT CAST('a' AS INT)"):
        with pytest.raises(InvalidData, match="The query cannot be read"):
            ask(query)


def test_what_quality_drops_is_kept_with_its_reason_and_comes_back_without_it(
    prepared: Prepared, tmp_path: Path
) -> None:
    prose = " ".join(f"The alias number {n} moves and the traffic moves with it." for n in range(30))
    near = prose + " And a last word."
    rows = [
        *({"id": key, "text": text} for key, text in (("a", prose), ("b", prose), ("c", near), ("d", "Zu kurz."))),
        {"id": "e", "text": "Der Zeiger ist nicht auf die neue Version gesetzt und der Server weiß es. " * 9},
    ]
    quality = Quality(filters=True, detect=True, languages=("en", "und"), duplicates="near")
    counts = prepared(rows[::-1], quality=quality)
    dropped = {"exact_duplicate": 1, "language_not_wanted": 1, "near_duplicate": 1, "word_count": 1}
    assert (counts.read, counts.documents, counts.quarantined) == (5, 1, dropped)
    kept = rows_of(tmp_path / "chunks_quarantine", "raw, reason")
    assert {json.loads(row["raw"])["id"]: row["reason"] for row in kept} == {
        "b": "exact_duplicate",
        "c": "near_duplicate",
        "d": "word_count",
        "e": "language_not_wanted",
    }
    before = versions(tmp_path)
    assert prepared(rows, quality=quality).unchanged == 1
    assert versions(tmp_path)[:2] == before[:2]
    assert prepared(rows).documents == 5


def test_all_kinds_of_input_give_the_same_documents(spark: SparkSession, tmp_path: Path) -> None:
    rows = [document(number) for number in range(3)]
    lines = write_lines(tmp_path / "raw.jsonl", rows)
    (tmp_path / "raw.jsonl.gz").write_bytes(gzip.compress(Path(lines).read_bytes()))
    table = spark.read.schema("id string, title string, text string").json(lines)
    table.write.parquet(str(tmp_path / "parquet"))
    table.write.format("delta").save(str(tmp_path / "delta"))
    found = []
    for name in ("raw.jsonl", "raw.jsonl.gz", "parquet", "delta"):
        prepare(spark, Request(str(tmp_path / name), str(tmp_path / f"out-{name}"), limits=NO_LIMITS))
        found.append(rows_of(tmp_path / f"out-{name}", CONTENT))
    assert found[0]
    assert all(each == found[0] for each in found)


def test_a_folder_of_pages_and_a_conversation_become_documents(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "pages" / "sub").mkdir(parents=True)
    (tmp_path / "pages" / "a.md").write_text("# Alpha\n\nText.")
    (tmp_path / "pages" / "sub" / "b.html").write_text("<title>Beta</title><p>Text of beta</p>")
    prepare(spark, Request(str(tmp_path / "pages"), str(tmp_path / "chunks"), limits=NO_LIMITS))
    ids = {row["document_id"]: row["title"] for row in rows_of(tmp_path / "chunks_documents")}
    assert ids == {"a.md": "Alpha", "sub/b.html": "Beta"}
    turns = [{"role": "user", "content": "Why? " * 100}, {"role": "assistant", "content": "Because. " * 60}]
    talk = write_lines(tmp_path / "talk.jsonl", [{"id": "t", "messages": turns}])
    prepare(spark, Request(talk, str(tmp_path / "talk"), limits=NO_LIMITS))
    chunks = rows_of(tmp_path / "talk")
    roles = sorted(json.loads(row["metadata"])["roles"] for row in chunks)
    assert roles == [["assistant"], ["user"]]
