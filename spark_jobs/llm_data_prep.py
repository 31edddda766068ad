"""Raw text -> Delta tables of documents, chunks and quarantine.

    spark-submit spark_jobs/llm_data_prep.py <input_raw_text_path> <output_delta_path>

The input is the whole corpus: JSON lines (plain, gzip; conversations too), a folder of documents (.txt, .md, .html,
.pdf, .docx, .pptx, .epub, .eml), Parquet, or a Delta table. The job deletes documents that the input lacks, unless
--append says that the input holds new documents only. Of a raw table of ingestion it takes the rows that are new since
the run before, and deletes the documents that were deleted over HTTP. The chunk table is at exactly the output path;
`<output>_documents` and `<output>_quarantine` lie beside it. A second run changes only what differs.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from functools import partial
from typing import Any

from mlflow_project.adapters import run_flows
from mlflow_project.rules.chunking.records import Fields
from mlflow_project.rules.chunking.splitter import Splitter
from mlflow_project.rules.quality.selection import Quality
from mlflow_project.telemetry.meters import Meters
from spark_jobs import tables
from spark_jobs.plan import Limits
from spark_jobs.preparation import Request, plan, prepare
from spark_jobs.program import Arguments, Lineage, run, share
from spark_jobs.session import spark_job

USAGE = "llm_data_prep.py <input_raw_text_path> <output_delta_path>"


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("input_raw_text_path")
    parser.add_argument("output_delta_path")
    parser.add_argument(
        "--form",
        choices=("lines", "files", "parquet", "delta"),
        help="how to read the input: `lines` is JSON lines, `files` takes each file as one document, `parquet` and "
        "`delta` are tables (default: by the names of the files)",
    )
    for name in ("id", "text", "title", "language", "messages"):
        parser.add_argument(f"--{name}-field", default=name, metavar="NAME", help=f"the field that holds the {name}")
    parser.add_argument("--size", type=int, default=700, help="the longest chunk (default 700)")
    parser.add_argument("--overlap", type=int, default=100, help="the longest overlap of neighbours (default 100)")
    parser.add_argument("--unit", choices=("characters", "tokens"), default="characters")
    _add_plan(parser)
    _add_quality(parser)
    options = parser.parse_args(argv)
    options.command = _command(argv)
    return options


def _add_plan(parser: Arguments) -> None:
    changes = parser.add_argument_group("plan (a run that crosses a limit ends with exit code 4 and changes nothing)")
    changes.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    changes.add_argument("--append", action="store_true", help="keep documents that the input does not hold")
    limits = Limits()
    changes.add_argument(
        "--max-deleted",
        type=share,
        default=limits.deleted,
        metavar="SHARE",
        help="the largest share of the table's documents that may be deleted, 0 to 1 (default %(default)s)",
    )
    changes.add_argument(
        "--max-rejected",
        type=share,
        default=limits.rejected,
        metavar="SHARE",
        help="the largest share of the rows that may be rejected, 0 to 1 (default %(default)s)",
    )


def _add_quality(parser: Arguments) -> None:
    quality = parser.add_argument_group("quality (off by default; dropped rows go to quarantine with their reason)")
    quality.add_argument("--filters", action="store_true", help="published filters for running text (Gopher, C4)")
    quality.add_argument("--detect-language", action="store_true", help="name the language where a row does not")
    quality.add_argument("--languages", default="", metavar="CODES", help="keep only these: en,de (und: unknown)")
    quality.add_argument("--duplicates", choices=("keep", "exact", "near"), default="keep", help="which to drop")


def _command(argv: list[str]) -> str:
    """The command as the caller typed it, without the limits, for messages that say how to go on."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        name, _, value = word.partition("=")
        if name in ("--max-deleted", "--max-rejected"):
            _ = value or next(words, "")
        elif word != "--json":
            kept.append(word)
    return shlex.join(["switchyard", "prepare", *kept])


def request(options: argparse.Namespace) -> Request:
    """The options as a request.

    Raises:
        InvalidData: size, overlap and unit do not fit together.
    """
    codes = tuple(code.strip().lower() for code in options.languages.split(",") if code.strip())
    return Request(
        options.input_raw_text_path,
        options.output_delta_path,
        options.form,
        Fields(
            options.id_field, options.text_field, options.title_field, options.language_field, options.messages_field
        ),
        Splitter(options.size, options.overlap, options.unit),
        Limits(options.max_deleted, options.max_rejected),
        Quality(options.filters, options.detect_language, codes, options.duplicates),
        options.append,
        options.command,
    )


def job(options: argparse.Namespace, meters: Meters) -> dict[str, Any]:
    """Prepare, or plan. Returns the result as JSON-ready data."""
    asked = request(options)
    with spark_job("llm_data_prep", f"Preparing {asked.source}") as spark:
        if options.dry_run:
            found = plan(spark, asked)
            return {"dry_run": True, **found.to_dict(), "refused": found.objection(asked.limits) or None}
        return prepare(spark, asked, meters=meters).to_dict()


def lineage(options: argparse.Namespace) -> Lineage:
    """What a preparation reads and writes."""
    named = {"document_id": options.id_field, "text": options.text_field, "title": options.title_field}
    fields = {**named, "language": options.language_field}
    source, output = options.input_raw_text_path, tables.address(options.output_delta_path)
    return Lineage("prepare", partial(run_flows.prepared, source, output, fields))


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    meters = Meters()
    title = f"{options.input_raw_text_path} -> {options.output_delta_path}"
    return run(partial(job, meters=meters), options, title, meters, None if options.dry_run else lineage(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
