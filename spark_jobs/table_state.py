"""What an output path holds before a run: nothing, something else, or the tables of a knowledge base.

In: the path, and the logs of its tables. Out: one of our errors if tables cannot be written there, else a `TableState`.
The last commit of the document table notes which version of the chunk table and of the quarantine it belongs to. If the
note does not fit, a run was cut short or another program wrote, and the chunk table itself says what it contains.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from mlflow_project.errors import InvalidData, NotFound
from spark_jobs import spark_internals, tables
from spark_jobs.examination import Fingerprints, fingerprints
from spark_jobs.folders import folder
from spark_jobs.ingested_source import Seen
from spark_jobs.session import translated
from spark_jobs.table_log import TableLog, newest_version
from spark_jobs.tables import Tables


def check_output(spark: SparkSession, at: Tables, *, try_to_write: bool = True) -> None:
    """Check before any work that tables can be written there, so that a typing mistake is reported at once.

    Raises:
        InvalidData: the path is a file, holds something else, or cannot be written to. Unavailable: no answer.
    """
    with translated(f"Writing to {at.chunks}"):
        if newest_version(spark, at.chunks) is None:
            _refuse_strangers(spark, at.chunks)
            if try_to_write:
                trial = f"{at.chunks}_trial-{uuid.uuid4().hex[:8]}"
                spark_internals.write(spark, trial, b"")
                spark_internals.remove(spark, trial)
            return
        missing = set(tables.CHUNKS.names) - set(tables.read(spark, at.chunks).columns)
    if missing:
        raise InvalidData(
            f"{at.chunks} is a Delta table, but not one of chunks (it has no {', '.join(sorted(missing))}): name "
            "another output path."
        )


def _refuse_strangers(spark: SparkSession, path: str) -> None:
    """Refuse a folder that holds other things. Files of a first run that was killed are no reason to refuse."""
    if not spark_internals.exists(spark, path):
        return
    if spark_internals.files_below(spark, path, 0).is_file:
        raise InvalidData(f"{path} is a file: name an output path at which there is none.")
    strangers = sorted(name for name in spark_internals.names(spark, path) if not name.startswith(("part-", "_", ".")))
    if strangers:
        raise InvalidData(
            f"{path} holds {strangers[0]!r} and is no Delta table: name an output path that is empty or not there yet."
        )


@dataclass(frozen=True)
class Note:
    """The note with a commit of the document table: versions of the other tables, and the input of all three.

    `rows` names the input (`Tally.rows`); `chunks` is the number of chunks. `seen` says, by the address of each raw
    table of ingestion, which of its rows were taken (`ingested_source.Seen`). A former release noted less: None.
    """

    chunks_version: int | None = None
    chunks: int | None = None
    quarantine_version: int | None = None
    rows: str | None = None
    seen: dict[str, Any] | None = None

    @classmethod
    def parse(cls, text: str | None) -> Note:
        """Read a note. Fields that it lacks are None, and so are all fields of a note that is not ours."""
        try:
            noted = json.loads(text or "{}")
        except ValueError:
            noted = None
        return cls(**{name: noted.get(name) for name in cls.__dataclass_fields__}) if isinstance(noted, dict) else cls()

    def __str__(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class TableState:
    """The documents in the tables before a run.

    `held`: their ids, or None without a table. `known`: fingerprints of the documents that are whole. `fits`: the two
    tables belong together. `torn`: ids that a run left half written, or None. `chunks` and `rows`: as the last run
    noted them, or None if they must be found out.
    """

    held: DataFrame | None
    known: Fingerprints
    fits: bool = False
    torn: DataFrame | None = None
    chunks: int | None = None
    rows: str | None = None


def rows_seen(chunks: TableLog, documents: TableLog) -> dict[str, Seen]:
    """By the address of each raw table of ingestion, the rows of it that need not be read again. After a run that was
    cut short, that is none of them.
    """
    if chunks.version is None:
        return {}
    note = next((Note.parse(text) for _, text in documents.notes(1)), Note())
    noted = note.seen if isinstance(note.seen, dict) else {}
    is_whole = note.chunks_version == chunks.version
    return {table: Seen.parse(each) if is_whole else Seen() for table, each in noted.items()}


def read_state(spark: SparkSession, at: Tables, chunks: TableLog, documents: TableLog, splitter: str) -> TableState:
    """Read the state of the tables before a run.

    Raises:
        InvalidData: they were made with another splitter.
    """
    if chunks.version is None:
        return TableState(None, fingerprints([]))
    prepared = _in_chunks(spark, at) if documents.version is None else _in_documents(spark, at)
    hashes, splitters = _hashes_and_splitters(prepared, documents).columns
    other = next((each for each in splitters.unique().to_pylist() if each not in (splitter, None)), None)
    if other is not None:
        raise InvalidData(
            f"{at.chunks} was made with splitter {other!r}, and this run asks for {splitter!r}: chunks of "
            "two kinds do not mix. Use the same size, overlap and unit, or another output path."
        )
    note = next((Note.parse(text) for _, text in documents.notes(1)), Note())
    held = prepared.select("document_id")
    if note.chunks_version == chunks.version:
        is_current = note.quarantine_version == newest_version(spark, at.quarantine)
        rows = note.rows if is_current else None
        return TableState(held, fingerprints(hashes.to_pylist()), True, None, note.chunks, rows)
    pair = ["document_id", "document_hash"]
    in_chunks = _in_chunks(spark, at).select(*pair)
    whole = in_chunks.limit(0) if documents.version is None else prepared.select(*pair).intersect(in_chunks)
    held = held.union(in_chunks.select("document_id")).distinct()
    torn = prepared.select(*pair).union(in_chunks).distinct().subtract(whole).select("document_id").distinct()
    return TableState(held, fingerprints(whole.toArrow().column("document_hash").to_pylist()), torn=torn)


def documents_version(spark: SparkSession, at: Tables, chunks_version: int) -> int:
    """The version of the document table that belongs to a version of the chunk table.

    Raises:
        NotFound: no run ended with this version of the chunk table.
    """
    log = TableLog(spark, folder(spark, at.documents), tables.DOCUMENTS, tables.DOCUMENTS_KEY)
    for version, text in log.notes():
        if Note.parse(text).chunks_version == chunks_version:
            return version
    raise NotFound(
        f"No run left {at.chunks} at version {chunks_version}: name a version that a run of llm_data_prep.py "
        "printed, or leave it out for the newest."
    )


def _hashes_and_splitters(prepared: DataFrame, documents: TableLog) -> pa.Table:
    answer = documents.ask("SELECT document_hash, splitter FROM here")
    return answer if answer is not None else prepared.select("document_hash", "splitter").toArrow()


def _in_documents(spark: SparkSession, at: Tables) -> DataFrame:
    return tables.read(spark, at.documents).select("document_id", "document_hash", "splitter")


def _in_chunks(spark: SparkSession, at: Tables) -> DataFrame:
    chunks = tables.read(spark, at.chunks)
    return chunks.select(f.col("source_document_id").alias("document_id"), "document_hash", "splitter").distinct()
