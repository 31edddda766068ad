"""Rows of a Delta table -> predictions of one sealed model, or answers of one sealed prompt.

    spark-submit spark_jobs/batch_inference_job.py <input>@<version> <output> --model fraud@Production
    spark-submit spark_jobs/batch_inference_job.py <input>@<version> <output> --prompt qa@Production --budget 5

The release is resolved once, at the start: an alias by the ledger, so that what a flip during the job changes does not
matter to it. A version that no gate has sealed is refused with exit code 4. Without a version the input is read at its
newest one. A second run answers only rows that are new, or everything if the release is another one.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial
from typing import Any

from mlflow_project.adapters import run_flows
from mlflow_project.domain.reference import reference
from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.evaluation.asking import Plan, Purse
from mlflow_project.evaluation.opening import opening
from mlflow_project.evaluation.workplace import check_priced
from mlflow_project.parts import Parts
from mlflow_project.settings import ProviderSettings, load, state_folder
from mlflow_project.training.data import split_address
from spark_jobs.batch_answers import ROWS_AT_ONCE, Asking, answer_new
from spark_jobs.batch_inference import predict_new
from spark_jobs.new_rows import Batch
from spark_jobs.predicting import check_loads
from spark_jobs.program import Arguments, Lineage, run, share
from spark_jobs.sealed_releases import sealed_model, sealed_release
from spark_jobs.session import spark_job
from spark_jobs.table_log import newest_version

USAGE = "batch_inference_job.py <input>[@<version>] <output> --model|--prompt NAME[@ALIAS|/N] [--key COLUMN]"
_ROWS_OF_A_MODEL = 100_000
_ONLY_OF_PROMPTS = ("budget", "rate", "at_once")


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("input", help="a Delta table, with its version behind @")
    parser.add_argument("output", help="the table of predictions or answers")
    parser.add_argument(
        "--model",
        "--prompt",
        required=True,
        metavar="NAME",
        help="fraud, fraud/3 or fraud@Staging (default alias Production)",
    )
    parser.add_argument("--key", metavar="COLUMN", help="the column that names a row (default: the whole row does)")
    parser.add_argument("--rows-at-once", type=int, metavar="N", help="rows of one commit")
    parser.add_argument(
        "--max-failed",
        type=share,
        default=0.01,
        metavar="SHARE",
        help="the largest share of rows that may fail, 0 to 1 (default %(default)s)",
    )
    parser.add_argument("--budget", type=float, metavar="USD", help="the most that a prompt's new answers may cost")
    parser.add_argument("--rate", type=float, metavar="N", help="the most requests a minute that a prompt sends")
    parser.add_argument("--at-once", type=int, metavar="N", help="the most questions under way at once (default 16)")
    options = parser.parse_args(argv)
    for name in ("rows_at_once", "at_once"):
        if (given := getattr(options, name)) is not None and given < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1.")
    for name in ("budget", "rate"):
        if (given := getattr(options, name)) is not None and not 0 < given < float("inf"):
            parser.error(f"--{name} must be a number above 0.")
    return options


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Predict or answer; the result as JSON-ready data."""
    parts = Parts.connect()
    release, loading = sealed_release(parts, reference(options.model))
    is_prompt = release.manifest.kind == "prompt"
    asking = _asking(parts, release, options) if is_prompt else None
    sealed = None if is_prompt else sealed_model(parts, release, loading)
    if sealed and (given := [name for name in _ONLY_OF_PROMPTS if getattr(options, name) is not None]):
        raise InvalidData(f"{release.label} is a model and asks no provider: leave out --{given[0].replace('_', '-')}.")
    if sealed:
        check_loads(sealed)
    table, version = split_address(options.input)
    output = split_address(options.output)[0]
    with spark_job("batch_inference", f"Reading {options.input}") as spark:
        if version is None:
            version = newest_version(spark, table)
        if version is None:
            raise NotFound(f"There is no Delta table at {table}.")
        at_once = options.rows_at_once or (ROWS_AT_ONCE if is_prompt else _ROWS_OF_A_MODEL)
        asked = Batch(table, version, output, options.key, at_once, options.max_failed)
        if asking is not None:
            done = asyncio.run(answer_new(spark, asked, release, asking))
        elif sealed is not None:
            done = predict_new(spark, asked, sealed)
        return {"input": str(asked), **done}


def _asking(parts: Parts, release: Release, options: argparse.Namespace) -> Asking:
    """How a prompt is asked, by the provider settings of this machine.

    Raises:
        InvalidData: the answers cost money and there is no budget, or a budget cannot be kept.
    """
    plan = Plan(options.at_once or 16, purse=Purse(options.budget))
    check_priced(release, plan)
    if release.manifest.prices is not None and options.budget is None:
        raise InvalidData(f"The answers of {release.label} cost money: say how much all may cost, as in --budget 5.")
    folder = state_folder()
    opened = opening(
        release, parts.store, folder / "evaluation" / "indexes", load(ProviderSettings), parts.masker, options.rate
    )
    return Asking(opened, plan, folder / "batch" / "answers")


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    flow = partial(run_flows.predicted, options.input, split_address(options.output)[0], options.model)
    title = f"{options.input} -> {options.output} by {options.model}"
    return run(job, options, title, lineage=Lineage("batch_inference", flow))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
