"""Profiles the texts of a knowledge base at one version: one row per column, in `<chunk_table>_profiles`.

    spark-submit spark_jobs/profile_documents.py <chunk_table> [--version N] [--columns NAMES]

In: the chunk table and its document table. Out: rows of `tables.PROFILES` for `title` and `text` of the documents and
`text_content` of the chunks; `spark_jobs.profiles` explains them. A version that has a profile gets no second one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from mlflow_project.adapters import run_flows
from mlflow_project.errors import InvalidData, NotFound
from spark_jobs import tables
from spark_jobs.lease import one_writer
from spark_jobs.profiles import SPECIFICATION, profile, topics_of
from spark_jobs.program import Arguments, Lineage, run
from spark_jobs.session import spark_job
from spark_jobs.table_log import newest_version
from spark_jobs.table_state import documents_version
from spark_jobs.tables import Tables

USAGE = "profile_documents.py <chunk_table> [--version N] [--columns NAMES]"
COLUMNS = ("title", "text", "text_content")


def profile_documents(
    spark: SparkSession, table: str, version: int | None = None, names: Sequence[str] = COLUMNS
) -> dict[str, Any]:
    """Profile each named column that has no profile yet.

    Raises:
        InvalidData: a name is not in `COLUMNS`. NotFound: there is no such table, or no run left it at this version.
        Refused: another writer holds the table of profiles.
    """
    unknown = sorted(set(names) - set(COLUMNS))
    if unknown:
        raise InvalidData(f"There is no profile of {', '.join(unknown)}: the columns are {', '.join(COLUMNS)}.")
    at = Tables(tables.address(table))
    newest = newest_version(spark, at.chunks)
    if newest is None:
        raise NotFound(f"There is no Delta table at {at.chunks}.")
    corpus = newest if version is None else version
    columns = {name: rows for name, rows in _columns(spark, at, corpus).items() if name in names}
    made: list[str] = []
    with one_writer(at.profiles) as may_commit:
        kept = _kept(spark, at)
        for name, rows in columns.items():
            mine = [] if kept is None else kept.where(f.col("column") == name).orderBy("corpus_version").collect()
            if any(row["corpus_version"] == corpus for row in mine):
                continue
            found = profile(rows, topics_of(mine[0]) if mine else None)
            said = {"corpus_version": corpus, "column": name, "specification": SPECIFICATION}
            may_commit()
            _keep(spark, at, {**said, "profiled_at": datetime.now(UTC), **found})
            made.append(name)
    result = {"table": at.chunks, "corpus_version": corpus, "columns": list(columns), "profiled": made}
    return {**result, "profiles": at.profiles, "delta_version": newest_version(spark, at.profiles)}


def _columns(spark: SparkSession, at: Tables, corpus: int) -> dict[str, DataFrame]:
    """`key, text, language` of each column."""
    documents = tables.read(spark, at.documents, documents_version(spark, at, corpus))
    chunks = tables.read(spark, at.chunks, corpus)
    return {
        "title": documents.selectExpr("document_id AS key", "title AS text", "language"),
        "text": documents.selectExpr("document_id AS key", "text", "language"),
        "text_content": chunks.selectExpr("chunk_id AS key", "text_content AS text", "language"),
    }


def _kept(spark: SparkSession, at: Tables) -> DataFrame | None:
    if newest_version(spark, at.profiles) is None:
        return None
    return tables.read(spark, at.profiles).where(f.col("specification") == SPECIFICATION)


def _keep(spark: SparkSession, at: Tables, row: dict[str, Any]) -> None:
    values = tuple(row[name] for name in tables.PROFILES.names)
    tables.writer(spark.createDataFrame([values], tables.spark_schema(tables.PROFILES))).mode("append").save(
        at.profiles
    )


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("chunk_table")
    parser.add_argument("--version", type=int, help="the Delta version of the chunk table (default: the newest)")
    parser.add_argument(
        "--columns", default=",".join(COLUMNS), metavar="NAMES", help="profile only these (default %(default)s)"
    )
    return parser.parse_args(argv)


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Profile; the result as JSON-ready data."""
    started = time.monotonic()
    names = [name.strip() for name in options.columns.split(",") if name.strip()]
    with spark_job("profile_documents", f"Profiling {options.chunk_table}") as spark:
        result = profile_documents(spark, options.chunk_table, options.version, names)
    return {**result, "seconds": round(time.monotonic() - started, 3)}


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    flow = partial(run_flows.profiled, tables.address(options.chunk_table))
    return run(job, options, f"Profile of {options.chunk_table}", lineage=Lineage("profile", flow))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
