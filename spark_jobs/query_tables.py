"""Runs one query with Spark SQL. Tables are written as delta.`address`.

    spark-submit spark_jobs/query_tables.py "SELECT …"

Out: one JSON document on stdout, `{"columns": [...], "rows": [[...], ...]}`. `switchyard sql --engine spark` shows it.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from spark_jobs.program import Arguments, run
from spark_jobs.session import spark_job

USAGE = "query_tables.py <query>"


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("query")
    return parser.parse_args(argv)


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Run the query; columns and rows as JSON-ready data. Decodes bytes as UTF-8; other types become text."""
    with spark_job("query_tables", "The query cannot be read") as spark:
        found = spark.sql(options.query)
        return {"columns": found.columns, "rows": [[_plain(value) for value in row] for row in found.collect()]}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    return run(job, arguments([*argv, "--json"]), "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
