"""Brings the tables of a knowledge base to what the input says, in steps that can be killed anywhere and run again.

Files are there before anything is committed; each table then changes in one commit. Order: quarantine, chunks,
documents. The document table is the manifest of what was prepared, so it comes last; each of its commits notes the
version of the chunk table that it belongs to. Where that note does not fit, a run was cut short (or somebody else
wrote), and the chunk table itself is asked what it holds.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as f
from pyspark.sql.types import StructType

from mlflow_project.errors import InvalidData, NotFound
from spark_jobs import delta_log, hadoop_files, sweeping, tables
from spark_jobs.asking import ask
from spark_jobs.examination import fingerprints
from spark_jobs.folders import Folder, folder
from spark_jobs.sweeping import Sweep
from spark_jobs.table_files import Written
from spark_jobs.tables import Tables
from spark_jobs.tally import Tally
from spark_jobs.transactions import Transaction

_VERSION, _CHUNKS, _QUARANTINE, _ROWS = "chunks_version", "chunks", "quarantine_version", "rows"
"""What the documents' commit notes: version and number of the chunks, version of the quarantine, and which rows (a sum)
all three were made from."""

MayCommit = Callable[[], None]
"""Asked before every commit; raises to stop."""


@dataclass(frozen=True)
class Standing:
    """What the tables hold before a run: ids (None: no table yet), and the fingerprints of what is prepared already.

    `fits`: the tables are there and fit together, so that nothing is written where the input did not change. `chunks`:
    how many there are, and `rows`: what they and the present quarantine were made from, where the last run noted it.
    """

    held: DataFrame | None
    known: NDArray[np.uint64]
    fits: bool = False
    chunks: int | None = None
    rows: str | None = None


@dataclass(frozen=True)
class Change:
    """Files that the pass wrote, ids whose rows must go from the tables (None: none), and documents that must leave the
    files that they were written to, by the name of the file."""

    written: Sequence[Written]
    outdated: DataFrame | None
    strays: Mapping[str, list[str]]


class Upkeep:
    """The tables, from before the input is read: what another writer commits from then on makes this one fail."""

    def __init__(self, spark: SparkSession, at: Tables) -> None:
        self._spark = spark
        self._at = at
        self.run = uuid.uuid4().hex
        self.chunks = _Table(at.chunks, "source_document_id", tables.CHUNKS, Transaction(spark, at.chunks))
        self.documents = _Table(at.documents, "document_id", tables.DOCUMENTS, Transaction(spark, at.documents))
        self.folders = {each.address: folder(spark, each.address) for each in (self.chunks, self.documents)}

    def apply(self, change: Change, rows: str, may_commit: MayCommit) -> int:
        """Change both tables, chunks first; returns how many chunks there are then. The quarantine of these `rows` is
        written by now."""
        quarantine = delta_log.newest(self._spark, self._at.quarantine)  # now, before another writer's can be there
        outdated = None if change.outdated is None else change.outdated.persist()
        try:
            chunks, documents = (self._ready(table, change, outdated) for table in (self.chunks, self.documents))
        finally:
            if outdated is not None:
                outdated.unpersist()
        self.chunks.commit(*chunks, may_commit)
        number = self.count()
        note = {
            _VERSION: delta_log.newest(self._spark, self._at.chunks),
            _CHUNKS: number,
            _QUARANTINE: quarantine,
            _ROWS: rows,
        }
        self.documents.commit(*documents, may_commit, json.dumps(note))
        return number

    def count(self) -> int:
        """The chunks that there are now."""
        told = ask(self.folders[self.chunks.address], "SELECT count(*) FROM here")
        return int(told[0][0].as_py() if told is not None else tables.read(self._spark, self.chunks.address).count())

    def discard(self, written: Sequence[Written]) -> None:
        """Take files away that no commit will name."""
        for file in written:
            hadoop_files.remove(self._spark, f"{file.folder}/{file.name}")

    def told(self, staged: DataFrame) -> tuple[list[Written], Tally, list[bytes]]:
        """Run the pass: the files that workers wrote, how many rows came to what, and ids in short."""
        written, counts, ids = [], Tally(), []
        for file, some, its_ids in self._rows(staged.where("file IS NULL").select("written", "tally", "ids")):
            if file is None:
                counts += Tally(**json.loads(some))
                ids.append(bytes(its_ids))
            else:
                written.append(self._put(Written(*file)))
        return written, counts, ids

    def _rows(self, rows: DataFrame) -> Iterator[Row]:
        """Of one partition after another, where they bring whole files."""
        whole_files = any(each.way == "driver" for each in self.folders.values())
        return iter(rows.toLocalIterator() if whole_files else rows.collect())

    def _put(self, file: Written) -> Written:
        """What only the driver can write is written now."""
        if file.content is not None:
            hadoop_files.write(self._spark, f"{file.folder}/{file.name}", file.content)
        return file._replace(content=None)

    def _ready(self, table: _Table, change: Change, outdated: DataFrame | None) -> tuple[list[Written], dict[str, int]]:
        """The files to add and to take out; those that hold what must go are written again without it."""
        written = [file for file in change.written if file.folder == table.address]
        own = {file.name for file in written}
        swept = {name: pa.array(gone) for name, gone in change.strays.items() if name in own}
        kept = [file for file in written if file.name not in swept]
        live: dict[str, int] = {}
        if outdated is not None and not table.next.is_new:
            live = sweeping.holding(tables.read(self._spark, table.address), table.key, outdated, table.address)
        if not (live or swept):
            return kept, live
        everywhere = outdated.toArrow().column(0).combine_chunks() if outdated is not None and live else None
        ids = {**swept, **dict.fromkeys(live, everywhere)}
        sweep = Sweep(self.folders[table.address], table.key, table.columns, self.run, ids)
        again = [self._put(Written(*row)) for row in self._rows(sweeping.swept(self._spark, sweep))]
        self.discard([file for file in written if file.name in swept])
        return [*kept, *again], live


@dataclass(frozen=True)
class _Table:
    address: str
    key: str
    columns: StructType
    next: Transaction

    def commit(
        self, added: Sequence[Written], removed: Mapping[str, int], may_commit: MayCommit, note: str = ""
    ) -> None:
        if self.next.is_new:
            self.next.create(self.columns, self.key)
        if self.next.is_new or added or removed or note:
            may_commit()
            self.next.commit(self.key, added, removed, note)


def standing(spark: SparkSession, at: Tables, documents: Folder, splitter: str) -> Standing:
    """Look at the tables; `documents` is the folder of theirs.

    Raises:
        InvalidData: they were made with another splitter.
    """
    documents_version, chunks_version = delta_log.newest(spark, at.documents), delta_log.newest(spark, at.chunks)
    if chunks_version is None:
        return Standing(None, fingerprints([]))
    prepared = _chunked(spark, at) if documents_version is None else _documented(spark, at)
    hashes, splitters = _manifest(prepared, documents, documents_version).columns
    made_with = next((each for each in splitters.unique().to_pylist() if each not in (splitter, None)), None)
    if made_with is not None:
        raise InvalidData(
            f"{at.chunks} was made with splitter {made_with!r}, and this run asks for {splitter!r}: chunks of "
            "two kinds do not mix. Use the same size, overlap and unit, or another output path."
        )
    noted = {} if documents_version is None else delta_log.note(spark, at.documents, documents_version)
    held = prepared.select("document_id")
    if noted.get(_VERSION) == chunks_version:
        rows = noted.get(_ROWS) if noted.get(_QUARANTINE) == delta_log.newest(spark, at.quarantine) else None
        return Standing(held, fingerprints(hashes.to_pylist()), True, noted.get(_CHUNKS), rows)
    chunked = _chunked(spark, at)
    known = prepared.select("document_hash").intersect(chunked.select("document_hash"))
    whole = known.limit(0) if documents_version is None else known
    held = held.union(chunked.select("document_id")).distinct()
    return Standing(held, fingerprints(whole.toArrow().column(0).to_pylist()))


def keep_quarantine(spark: SparkSession, path: str, rows: DataFrame | None, may_commit: MayCommit) -> None:
    """Make the quarantine hold exactly these rows (None: none); nothing is committed where it does already."""
    held = None if delta_log.newest(spark, path) is None else tables.read(spark, path)
    if held is not None and (held.count() == 0 if rows is None else _fingerprint(held) == _fingerprint(rows)):
        return
    may_commit()
    if held is None and rows is None:
        nothing = Transaction(spark, path)
        nothing.create(tables.QUARANTINE, "file")
        nothing.commit("file", [], {})
        return
    wanted = tables.empty(spark, tables.QUARANTINE) if rows is None else rows
    stamped = wanted.withColumn("processed_at", f.current_timestamp()).coalesce(1)
    tables.writer(stamped).mode("overwrite").save(path)


def documents_version(spark: SparkSession, at: Tables, chunks_version: int) -> int:
    """The version of the document table that belongs to a version of the chunk table.

    Raises:
        NotFound: there is none: no such version, or one in the middle of a run.
    """
    newest = delta_log.newest(spark, at.documents)
    for version in range(-1 if newest is None else newest, -1, -1):
        if delta_log.note(spark, at.documents, version).get(_VERSION) == chunks_version:
            return version
    raise NotFound(
        f"No run left {at.chunks} at version {chunks_version}: name a version that a run of llm_data_prep.py "
        "told, or none for the newest."
    )


def _manifest(prepared: DataFrame, documents: Folder, version: int | None) -> pa.Table:
    """Hash and splitter of what is prepared."""
    told = None if version is None else ask(documents, "SELECT document_hash, splitter FROM here", version)
    return told if told is not None else prepared.select("document_hash", "splitter").toArrow()


def _documented(spark: SparkSession, at: Tables) -> DataFrame:
    return tables.read(spark, at.documents).select("document_id", "document_hash", "splitter")


def _chunked(spark: SparkSession, at: Tables) -> DataFrame:
    chunks = tables.read(spark, at.chunks)
    return chunks.select(f.col("source_document_id").alias("document_id"), "document_hash", "splitter").distinct()


def _fingerprint(rows: DataFrame) -> tuple[int, int]:
    each = f.xxhash64("file", "line", "reason", "sentence", "raw")
    count, total = rows.agg(f.count("*"), f.sum(each.cast("decimal(38,0)"))).first()
    return int(count), int(total or 0)
