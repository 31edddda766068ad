"""Raw text -> Delta tables of documents, chunks and quarantine.

    spark-submit spark_jobs/llm_data_prep.py <input_raw_text_path> <output_delta_path>

In: JSON lines (plain, gzip; conversations too), folders of .txt, .md or .html, Parquet, a Delta table. Out: the chunk
table at exactly the output path, `<output>_documents` and `<output>_quarantine` beside it. Run again, it touches only
what changed.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mlflow_project.rules.chunking.records import Fields
from mlflow_project.rules.chunking.splitter import Splitter
from mlflow_project.rules.quality.selection import Quality
from spark_jobs.preparation import Request, prepare
from spark_jobs.program import Arguments, run, share
from spark_jobs.session import spark_session, translated

USAGE = "llm_data_prep.py <input_raw_text_path> <output_delta_path>"


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line; anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("input_raw_text_path")
    parser.add_argument("output_delta_path")
    parser.add_argument(
        "--form", choices=("lines", "files", "parquet", "delta"), help="what the input is; else found out"
    )
    for name in ("id", "text", "title", "language", "messages"):
        parser.add_argument(f"--{name}-field", default=name, metavar="NAME", help=f"the field that holds the {name}")
    parser.add_argument("--size", type=int, default=700, help="the most that a chunk holds (default 700)")
    parser.add_argument("--overlap", type=int, default=100, help="what neighbours share at most (default 100)")
    parser.add_argument("--unit", choices=("characters", "tokens"), default="characters")
    parser.add_argument("--max-rejected", type=share, metavar="SHARE", help="refuse (exit 4) above this, 0 to 1")
    _add_quality(parser)
    return parser.parse_args(argv)


def _add_quality(parser: Arguments) -> None:
    quality = parser.add_argument_group("quality (off by default; what is dropped goes to quarantine, with its reason)")
    quality.add_argument("--filters", action="store_true", help="published filters for running text (Gopher, C4)")
    quality.add_argument("--detect-language", action="store_true", help="name the language where a row does not")
    quality.add_argument("--languages", default="", metavar="CODES", help="keep only these: en,de (und: unknown)")
    quality.add_argument("--duplicates", choices=("keep", "exact", "near"), default="keep", help="which to drop")


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Prepare; the counts as JSON-ready data."""
    fields = Fields(
        options.id_field, options.text_field, options.title_field, options.language_field, options.messages_field
    )
    splitter = Splitter(options.size, options.overlap, options.unit)
    codes = tuple(code.strip().lower() for code in options.languages.split(",") if code.strip())
    quality = Quality(options.filters, options.detect_language, codes, options.duplicates)
    places = options.input_raw_text_path, options.output_delta_path
    request = Request(*places, options.form, fields, splitter, options.max_rejected, quality)
    spark = spark_session("llm_data_prep")
    try:
        with translated(f"Preparing {request.source}"):
            return prepare(spark, request).to_dict()
    finally:
        spark.stop()


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    return run(job, options, f"{options.input_raw_text_path} -> {options.output_delta_path}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
