"""Runs one query with Spark SQL. Tables are written as delta.`address`.

    spark-submit spark_jobs/query_tables.py "SELECT …"

Out: one JSON document on stdout, `{"columns": [...], "rows": [[...], ...]}`. `switchyard sql --engine spark` shows it.
"""

from __future__ import annotations

import argparse
import re
import sys
from contextlib import suppress
from typing import Any

from pyspark.errors import ParseException
from pyspark.sql import SparkSession

from mlflow_project.adapters.delta_tables import plain
from mlflow_project.rules.reading_sql import refusal, refuse_writing
from spark_jobs.program import Arguments, run
from spark_jobs.session import spark_job

USAGE = "query_tables.py <query>"
_SHOWS = re.compile(r"\s*(describe|desc|show)\b", re.IGNORECASE)
"""Statements that read and are no queries."""


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("query")
    return parser.parse_args(argv)


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Run a statement in a session of its own; columns and rows as JSON-ready data."""
    refuse_writing(options.query)
    with spark_job("query_tables", "The query cannot be read") as spark:
        return answer(spark, options.query)


def answer(spark: SparkSession, query: str) -> dict[str, Any]:
    """Run a statement that reads; columns and rows. Bytes are read as UTF-8; dates and decimals become text.

    Raises:
        Refused: the statement may write.
    """
    if not _SHOWS.match(query):
        refuse_hidden_writing(spark, query)
    found = spark.sql(query)
    numbered = found.toDF(*map(str, range(len(found.columns))))  # two columns may have the same name
    rows = [row.asDict(recursive=True) for row in numbered.collect()]
    return {"columns": found.columns, "rows": [[plain(value) for value in row.values()] for row in rows]}


def refuse_hidden_writing(spark: SparkSession, query: str) -> None:
    """Refuse a statement that begins like a query and writes, such as `WITH new AS (...) INSERT INTO ...`.

    Only a query can be written between parentheses after FROM. EXPLAIN parses a statement and runs nothing.

    Raises:
        Refused: the statement is no query.
    """
    with suppress(ParseException):
        spark.sql(f"EXPLAIN SELECT * FROM (\n{query}\n)")
        return
    with suppress(ParseException):  # not a statement at all: `spark.sql` says what is wrong with it
        spark.sql(f"EXPLAIN {query}")
        raise refusal("writes, although it begins like a query")


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    return run(job, arguments([*argv, "--json"]), "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
