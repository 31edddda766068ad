"""Deletes retracted documents from the tables of a knowledge base, and tells preparations which ones stay out.

    python spark_jobs/retractions.py <chunk_table>

In: the chunk table, and `<chunk_table>_retracted` beside it, which `switchyard lineage impact --retract` writes. Out: a
new version of the tables of chunks and documents without these documents. No input is read. Later preparations leave
out rows with these ids.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from mlflow_project.errors import NotFound, Refused
from spark_jobs import tables
from spark_jobs.lease import one_writer
from spark_jobs.program import Arguments, run
from spark_jobs.session import spark_job
from spark_jobs.table_log import newest_version
from spark_jobs.table_state import Note, rows_seen
from spark_jobs.table_update import Change, MayCommit, TableUpdate
from spark_jobs.tables import Tables

USAGE = "retractions.py <chunk_table>"


def retracted_ids(spark: SparkSession, at: Tables) -> frozenset[str]:
    """The ids of the documents that were retracted from a knowledge base."""
    if newest_version(spark, at.retracted) is None:
        return frozenset()
    rows = tables.read(spark, at.retracted).select("document_id").distinct().collect()
    return frozenset(row["document_id"] for row in rows)


def ids_as_rows(spark: SparkSession, ids: frozenset[str]) -> DataFrame:
    """A row with `document_id` for each id."""
    return spark.createDataFrame([(each,) for each in sorted(ids)], "document_id string")


def take_out(spark: SparkSession, at: Tables, may_commit: MayCommit = lambda: None) -> dict[str, Any]:
    """Delete the retracted documents that the tables still hold; the counts, JSON-ready.

    Raises:
        NotFound: there is no knowledge base. Refused: a preparation was cut short, or another writer holds the table.
    """
    with one_writer(at.chunks) as still_ours:

        def allowed() -> None:
            may_commit()
            still_ours()

        update = TableUpdate(spark, at)
        if update.chunks.version is None or update.documents.version is None:
            raise NotFound(f"There is no knowledge base at {at.chunks}.")
        note = next((Note.parse(text) for _, text in update.documents.notes(1)), Note())
        if note.chunks_version != update.chunks.version:
            raise Refused(f"A preparation of {at.chunks} was cut short: run that preparation again first.")
        retracted = ids_as_rows(spark, retracted_ids(spark, at))
        held = tables.read(spark, at.documents).select("document_id").join(retracted, "document_id", "left_semi")
        deleted = held.count()
        if deleted:
            seen = rows_seen(update.chunks, update.documents)
            update.apply(Change([], held, {}), note.rows or "", seen, allowed)
        return {"table": at.chunks, "deleted": deleted, "delta_version": update.chunks.version}


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Delete what was retracted; the result as JSON-ready data."""
    at = Tables(tables.address(options.chunk_table))
    with spark_job("retractions", f"Taking retracted documents out of {at.chunks}") as spark:
        return take_out(spark, at)


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("chunk_table")
    options = parser.parse_args(argv)
    return run(job, options, f"Retracted documents of {options.chunk_table}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
