"""Updates the tables of a knowledge base, in steps that can be killed anywhere and repeated.

In: the files that the pass wrote, and the ids whose rows must leave the tables. Out: at most one commit per table, in
the order quarantine, chunks, documents. All files are written before the first commit. The document table is the
manifest of what was prepared, so it comes last; a `table_state.Note` goes with its commit.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as f

from spark_jobs import spark_internals, tables
from spark_jobs.examination import Tally
from spark_jobs.folders import folder
from spark_jobs.ingested_source import Seen
from spark_jobs.rows import LOCATION
from spark_jobs.table_files import Rewrite, Written, files_holding, rewritten
from spark_jobs.table_log import TableLog, newest_version
from spark_jobs.table_state import Note
from spark_jobs.tables import CHUNKS, CHUNKS_KEY, DOCUMENTS, DOCUMENTS_KEY, Tables

MayCommit = Callable[[], None]
"""Called before every commit; raises to stop the run."""


@dataclass(frozen=True)
class Change:
    """What a run changes.

    `written`: the files of the pass. `outdated`: the ids whose rows leave the tables, or None. `rejected`: ids that
    leave the files of the pass, by the name of the file.
    """

    written: Sequence[Written]
    outdated: DataFrame | None
    rejected: Mapping[str, list[str]]


class TableUpdate:
    """The update of both tables. Create it before the input is read: it fails if another writer commits after that."""

    def __init__(self, spark: SparkSession, at: Tables) -> None:
        self._spark = spark
        self._at = at
        self.run = uuid.uuid4().hex
        self.chunks = TableLog(spark, folder(spark, at.chunks), CHUNKS, CHUNKS_KEY)
        self.documents = TableLog(spark, folder(spark, at.documents), DOCUMENTS, DOCUMENTS_KEY)

    def collect(self, staged: DataFrame) -> tuple[list[Written], Tally, list[bytes]]:
        """Run the pass. Returns the files that executors wrote, the tally, and the short ids of documents."""
        written, counts, ids = [], Tally(), []
        for file, some, some_ids in self._rows(staged.where("file IS NULL").select("written", "tally", "ids")):
            if file is None:
                counts += Tally(**json.loads(some))
                ids.append(bytes(some_ids))
            else:
                written.append(self._put(Written(*file)))
        return written, counts, ids

    def apply(self, change: Change, rows: str, seen: Mapping[str, Seen], may_commit: MayCommit) -> int:
        """Change both tables, chunks first; returns the number of chunks. The quarantine must be up to date."""
        quarantine = newest_version(self._spark, self._at.quarantine)  # now, before another writer can add a version
        outdated = None if change.outdated is None else change.outdated.persist()
        try:
            chunks, documents = (self._prepared(log, change, outdated) for log in (self.chunks, self.documents))
        finally:
            if outdated is not None:
                outdated.unpersist()
        if self.chunks.version is None or any(chunks):
            may_commit()
            self.chunks.commit(*chunks)
        number = self.count()
        may_commit()
        noted = {table: asdict(each) for table, each in seen.items()}
        self.documents.commit(*documents, str(Note(self.chunks.version, number, quarantine, rows, noted or None)))
        return number

    def add_places(self, rows: DataFrame, may_commit: MayCommit) -> None:
        """Note where the documents of a table of an older release were read, without cutting any of them again.

        `rows` are the summaries of the raw rows. Documents that they lack stay without. The commit repeats the newest
        note, so all tables still belong together.
        """
        if not self.documents.missing_columns():
            return
        first = f.min(f.struct(*LOCATION)).alias("place")
        places = rows.where("document_hash IS NOT NULL").groupBy("document_hash").agg(first)
        columns = [f.col(f"place.{name}").alias(f"source_{name}") for name in LOCATION]
        held = tables.read(self._spark, self._at.documents).drop(*(f"source_{name}" for name in LOCATION))
        located = held.join(places, "document_hash", "left").select(*held.columns, *columns)
        note = next((text for _, text in self.documents.notes(1)), None)
        writer = tables.writer(located).option("overwriteSchema", "true").option("userMetadata", note or "")
        may_commit()
        writer.mode("overwrite").save(self._at.documents)
        self.documents = TableLog(self._spark, self.documents.folder, DOCUMENTS, DOCUMENTS_KEY)

    def count(self) -> int:
        """The number of chunks in the table now."""
        answer = self.chunks.ask("SELECT count(*) FROM here")
        return int(answer[0][0].as_py() if answer is not None else tables.read(self._spark, self._at.chunks).count())

    def discard(self, written: Sequence[Written]) -> None:
        """Remove files that no commit will name."""
        for file in written:
            spark_internals.remove(self._spark, f"{file.folder}/{file.name}")

    def _rows(self, rows: DataFrame) -> Iterator[Row]:
        """The rows on the driver: one partition after another if they contain whole files, else all at once."""
        with_files = any(log.folder.access == "hadoop" for log in (self.chunks, self.documents))
        return iter(rows.toLocalIterator() if with_files else rows.collect())

    def _put(self, file: Written) -> Written:
        """Write the file from the driver if its executor could not."""
        if file.content is not None:
            spark_internals.write(self._spark, f"{file.folder}/{file.name}", file.content)
        return file._replace(content=None)

    def _prepared(
        self, log: TableLog, change: Change, outdated: DataFrame | None
    ) -> tuple[list[Written], dict[str, int]]:
        """The files to add to a table and to remove from it. First rewrites the files with rows that must go."""
        address = log.folder.address
        written = [file for file in change.written if file.folder == address]
        names = {file.name for file in written}
        spoilt = {name: pa.array(ids) for name, ids in change.rejected.items() if name in names}
        kept = [file for file in written if file.name not in spoilt]
        live: dict[str, int] = {}
        if outdated is not None and log.version is not None:
            live = files_holding(tables.read(self._spark, address), log.key, outdated, address)
        if not (live or spoilt):
            return kept, live
        everywhere = outdated.toArrow().column(0).combine_chunks() if outdated is not None and live else None
        rewrite = Rewrite(log.folder, log.key, log.columns, self.run, {**spoilt, **dict.fromkeys(live, everywhere)})
        again = [self._put(Written(*row)) for row in self._rows(rewritten(self._spark, rewrite))]
        self.discard([file for file in written if file.name in spoilt])
        return [*kept, *again], live


def replace_quarantine(spark: SparkSession, path: str, rows: DataFrame | None, may_commit: MayCommit) -> None:
    """Make the quarantine contain exactly these rows (None: no row). Commits nothing if it does already."""
    held = None if newest_version(spark, path) is None else tables.read(spark, path)
    if held is not None and (held.count() == 0 if rows is None else _checksum(held) == _checksum(rows)):
        return
    may_commit()
    if held is None and rows is None:
        TableLog(spark, folder(spark, path), tables.QUARANTINE, "file").commit([], {})
        return
    wanted = tables.empty(spark, tables.QUARANTINE) if rows is None else rows
    stamped = wanted.withColumn("processed_at", f.current_timestamp()).coalesce(1)
    tables.writer(stamped).mode("overwrite").save(path)


def _checksum(rows: DataFrame) -> tuple[int, int]:
    each = f.xxhash64("file", "line", "reason", "sentence", "raw")
    count, total = rows.agg(f.count("*"), f.sum(each.cast("decimal(38,0)"))).first()
    return int(count), int(total or 0)
