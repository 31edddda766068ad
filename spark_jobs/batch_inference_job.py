"""Rows of a Delta table -> predictions of one sealed release.

    spark-submit spark_jobs/batch_inference_job.py <input>@<version> <output> --model fraud@Production

The release is resolved once, at the start: an alias by the ledger, so that what a flip during the job changes does not
matter to it. A version that no gate has sealed is refused with exit code 4. Without a version the input is read at its
newest one. A second run predicts only rows that are new, or everything if the release is another one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlflow_project.adapters.model_files import fetch_sealed
from mlflow_project.adapters.releases import read_manifest
from mlflow_project.domain.reference import Reference, reference
from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidData, NotFound, Refused
from mlflow_project.parts import Parts
from mlflow_project.seal.keys import load_trusted
from mlflow_project.seal.seal import verify
from mlflow_project.training.data import split_address
from spark_jobs.batch_inference import Batch, Sealed, predict_new
from spark_jobs.program import Arguments, run, share
from spark_jobs.session import spark_job
from spark_jobs.table_log import newest_version

USAGE = "batch_inference_job.py <input>[@<version>] <output> --model NAME[@ALIAS|/N] [--key COLUMN]"


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("input", help="a Delta table, with its version behind @")
    parser.add_argument("output", help="the table of predictions")
    parser.add_argument("--model", required=True, help="fraud, fraud/3 or fraud@Staging (default alias Production)")
    parser.add_argument("--key", metavar="COLUMN", help="the column that names a row (default: the whole row does)")
    parser.add_argument("--rows-at-once", type=int, default=100_000, metavar="N", help="rows of one commit")
    parser.add_argument(
        "--max-failed",
        type=share,
        default=0.01,
        metavar="SHARE",
        help="the largest share of rows that the model may refuse, 0 to 1 (default %(default)s)",
    )
    options = parser.parse_args(argv)
    if options.rows_at_once < 1:
        parser.error("--rows-at-once must be at least 1.")
    return options


def resolve(parts: Parts, named: Reference) -> Sealed:
    """The release that a person names, as it was sealed, with its files.

    Raises:
        NotFound: nothing is live under the alias. Refused: the version has no seal. InvalidData: it is a prompt.
        SealBroken: what is in the store is not what was sealed.
    """
    state = parts.ledger.state().of(named.name)
    version = named.version
    if version is None:
        alias = named.alias or "Production"
        live = state.live.get(alias)
        if live is None:
            raise NotFound(f"No version of {named.name!r} is live under {alias}. `switchyard live` shows what is.")
        version = live.version
    seal = state.seals.get(version)
    if seal is None:
        raise Refused(
            f"{named.name}/{version} has no seal: `switchyard gate {named.name} --version {version}` gives one."
        )
    manifest = read_manifest(parts.store, seal.digest)
    stated = verify(seal.envelope, load_trusted(parts.seal.trusted_keys), seal.recorded)
    if manifest.kind != "model":
        raise InvalidData(f"{named.name} is a {manifest.kind}, and this job predicts with models only.")
    with tempfile.TemporaryDirectory(prefix="switchyard-model-") as scratch:
        folder = fetch_sealed(parts.store, manifest, seal.digest, Path(scratch))
        files = {file.path: (folder / file.path).read_bytes() for file in manifest.files or ()}
    return Sealed(Release(version, seal.digest, manifest), files, stated.loading)


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Predict; the result as JSON-ready data."""
    sealed = resolve(Parts.connect(), reference(options.model))
    table, version = split_address(options.input)
    output = split_address(options.output)[0]
    with spark_job("batch_inference", f"Predicting {options.input}") as spark:
        if version is None:
            version = newest_version(spark, table)
        if version is None:
            raise NotFound(f"There is no Delta table at {table}.")
        asked = Batch(table, version, output, options.key, options.rows_at_once, options.max_failed)
        return {"input": f"{table}@{version}", **predict_new(spark, asked, sealed)}


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    return run(job, options, f"{options.input} -> {options.output} by {options.model}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
