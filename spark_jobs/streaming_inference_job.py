"""Rows that are appended to a Delta table, or records of a Kafka topic -> predictions of the release that is live.

    spark-submit spark_jobs/streaming_inference_job.py <input> <output> --model fraud@Production
    spark-submit spark_jobs/streaming_inference_job.py kafka://payments kafka://scores --model fraud --checkpoint s3a://...

Follows the alias between micro-batches: a promotion or rollback decides from the next micro-batch on. A release is
verified and loaded before a micro-batch uses it; if that fails, the release before it goes on. A version that no gate
has sealed is refused with exit code 4. Each row is predicted exactly once, whatever ends the job and however often it
is started again; the checkpoint remembers what was predicted. An output topic may get a record again after a crash,
with the same key and the same bytes. Runs until it is told to end; with --once it predicts what is there and ends.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Any

from mlflow_project.adapters import run_flows
from mlflow_project.domain.reference import reference
from mlflow_project.parts import Parts
from spark_jobs import tables
from spark_jobs.program import Arguments, Lineage, run
from spark_jobs.session import spark_job
from spark_jobs.streaming_inference import Stream, predict_stream

USAGE = "streaming_inference_job.py <input> <output> --model NAME[@ALIAS|/N] [--key COLUMN] [--once]"


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("input", help="a Delta table, to which rows are appended, or kafka://TOPIC")
    parser.add_argument("output", help="the table of predictions, or kafka://TOPIC")
    parser.add_argument("--model", required=True, help="fraud, fraud/3 or fraud@Staging (default alias Production)")
    parser.add_argument("--key", metavar="COLUMN", help="the column that names a row (default: the whole row does)")
    parser.add_argument("--checkpoint", metavar="FOLDER", help="what was predicted (default: <output>_checkpoint)")
    parser.add_argument("--files-at-once", type=int, default=100, metavar="N", help="most files of a micro-batch")
    parser.add_argument(
        "--records-at-once", type=int, default=10_000, metavar="N", help="most records of a micro-batch"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="least time between two micro-batches (default %(default)s)"
    )
    parser.add_argument("--once", action="store_true", help="predict what is there, and end")
    options = parser.parse_args(argv)
    if min(options.files_at_once, options.records_at_once) < 1 or not 0 <= options.seconds <= 86_400:
        parser.error("--files-at-once and --records-at-once must be at least 1, and --seconds from 0 to 86400.")
    if options.key is not None and options.input.startswith("kafka:"):
        parser.error("--key names a column of a table; a record of Kafka is named by its topic, partition and offset.")
    if options.checkpoint is None and options.output.startswith("kafka:"):
        parser.error("An output topic needs --checkpoint FOLDER: there is no table beside which it could lie.")
    if "@" in options.input:
        parser.error(f"{options.input} names a version; a stream reads a table from its first row on. Leave out @.")
    return options


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Predict; the result as JSON-ready data."""
    named, table, output = reference(options.model), tables.address(options.input), tables.address(options.output)
    asked = Stream(
        table=table,
        output=output,
        model=named,
        checkpoint=tables.address(options.checkpoint or f"{output}_checkpoint"),
        key=options.key,
        files_at_once=options.files_at_once,
        records_at_once=options.records_at_once,
        seconds=None if options.once else options.seconds,
    )
    with spark_job("streaming_inference", f"Predicting {table}") as spark:
        return {"input": table, **predict_stream(spark, asked, Parts.connect())}


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    flow = partial(run_flows.predicted, options.input, tables.address(options.output), options.model)
    lineage = Lineage("streaming_inference", flow, streams=True)
    return run(job, options, f"{options.input} -> {options.output} by {options.model}", lineage=lineage)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
