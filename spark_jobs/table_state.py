"""What the tables of a knowledge base hold before a run. In: their logs. Out: a `TableState`.

The last commit of the document table notes which version of the chunk table and of the quarantine it belongs to. Where
the note does not fit, a run was cut short or somebody else wrote, and the chunk table itself is asked what it holds.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from mlflow_project.errors import InvalidData, NotFound
from spark_jobs import tables
from spark_jobs.examination import fingerprints
from spark_jobs.folders import folder
from spark_jobs.table_log import TableLog, newest_version
from spark_jobs.tables import Tables


@dataclass(frozen=True)
class Note:
    """What the commit of the document table notes: versions of the other tables, and what all three were made from.

    `rows` names the input (`Tally.rows`); `chunks` is the number of chunks. None: a former version noted less.
    """

    chunks_version: int | None = None
    chunks: int | None = None
    quarantine_version: int | None = None
    rows: str | None = None

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

    `held`: the ids, None where there is no table. `known`: fingerprints of the documents that are whole. `fits`: both
    tables belong together. `torn`: ids that a run left half written, None where it left none. `chunks` and `rows`: as
    the last run noted them, None where they must be found out.
    """

    held: DataFrame | None
    known: NDArray[np.uint64]
    fits: bool = False
    torn: DataFrame | None = None
    chunks: int | None = None
    rows: str | None = None


def read_state(spark: SparkSession, at: Tables, chunks: TableLog, documents: TableLog, splitter: str) -> TableState:
    """Look at the tables before a run.

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
        "told, or none for the newest."
    )


def _hashes_and_splitters(prepared: DataFrame, documents: TableLog) -> pa.Table:
    answer = documents.ask("SELECT document_hash, splitter FROM here")
    return answer if answer is not None else prepared.select("document_hash", "splitter").toArrow()


def _in_documents(spark: SparkSession, at: Tables) -> DataFrame:
    return tables.read(spark, at.documents).select("document_id", "document_hash", "splitter")


def _in_chunks(spark: SparkSession, at: Tables) -> DataFrame:
    chunks = tables.read(spark, at.chunks)
    return chunks.select(f.col("source_document_id").alias("document_id"), "document_hash", "splitter").distinct()
