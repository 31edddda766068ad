"""Raw events and labels -> the Delta tables of a model's features, and its training set.

    spark-submit spark_jobs/feature_engineering_job.py <model folder> [--as-of TIME]

In: the folder's `features.yaml`, and the raw rows that it names. Out: new rows in `<table>`, `<table>_events`,
`<table>_labels` and `<table>_quarantine`; `<table>_training` with the rows to train on, and a note of the Delta
versions that they were made from. A second run adds only what is new, and commits nothing where nothing is.

    spark-submit spark_jobs/feature_engineering_job.py <model folder> --from-run RUN --output TABLE

makes the training set of an MLflow run again, from the Delta versions that the run names, and writes it only if it has
the digest that the run names.

Exit code 4 means that an expectation failed, or that the training set of a run cannot be made again; with --json the
report says which expectations failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from mlflow_project.adapters import run_flows
from mlflow_project.adapters.experiments import Experiments
from mlflow_project.errors import InvalidData, NotFound, Refused
from mlflow_project.rules.features.lines import microseconds
from mlflow_project.settings import RegistrySettings, load
from mlflow_project.training.data import RECIPE_FILE, Rows, in_order, rows_digest, split_address, write_rows
from mlflow_project.training.feature_file import FeatureFile
from mlflow_project.training.files import declaration_from, model_folder, read_declaration
from spark_jobs import tables
from spark_jobs.feature_tables import append_features, arrived, check, rebuild_features
from spark_jobs.lease import one_writer
from spark_jobs.program import Arguments, Lineage, run
from spark_jobs.session import spark_job
from spark_jobs.table_log import newest_version
from spark_jobs.training_sets import Pins, recipe, training_set

USAGE = "feature_engineering_job.py <model folder> [--as-of TIME] [--rebuild] [--from-run RUN --output TABLE]"


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("model", help="a model's folder, or its name below models/")
    parser.add_argument("--as-of", metavar="TIME", help="use only labels that were known by then")
    parser.add_argument("--rebuild", action="store_true", help="compute all feature rows anew")
    parser.add_argument("--from-run", metavar="RUN", help="make the training set of this MLflow run again")
    parser.add_argument("--output", metavar="TABLE", help="the table that --from-run writes")
    options = parser.parse_args(argv)
    if (options.from_run is None) != (options.output is None):
        parser.error("--from-run and --output belong together: give both or neither.")
    if options.from_run and (options.as_of or options.rebuild):
        parser.error("--from-run takes everything from the run: leave out --as-of and --rebuild.")
    try:
        microseconds(options.as_of or "2026-11-30T00:00:00Z")
    except ValueError:
        parser.error(f"Cannot read {options.as_of!r} as a time. Use ISO 8601, for example 2026-11-30T14:03:07Z.")
    return options


def build(
    spark: SparkSession,
    declared: FeatureFile,
    *,
    as_of: str | None = None,
    rebuild: bool = False,
    now: int | None = None,
) -> dict[str, Any]:
    """Bring the tables up to date and make the training set. Returns the report.

    Raises:
        ExpectationFailed: the input fails an expectation; only the quarantine was written.
        Refused: another writer holds the tables.
    """
    moment = time.time_ns() // 1_000 if now is None else now
    sources = {name: one for name, one in (("events", declared.events), ("labels", declared.labels)) if one is not None}
    with one_writer(declared.table) as still_ours, ExitStack() as held:
        found = [held.enter_context(arrived(spark, name, one, declared, moment)) for name, one in sources.items()]
        for one in found:
            if one.rejected:
                still_ours()
                tables.writer(one.rejects).mode("append").save(f"{declared.table}_quarantine")
        check(found, declared)
        for one in found:
            if one.new or newest_version(spark, one.table) is None:
                still_ours()
                tables.writer(one.rows).mode("append").save(one.table)
        report: dict[str, Any] = {one.name: one.counts() for one in found}
        if declared.features:
            still_ours()
            report["feature_rows"] = rebuild_features(spark, declared) if rebuild else append_features(spark, declared)
        still_ours()
        rows = _write_training_set(spark, declared, _newest_pins(spark, declared, as_of))
    return {**report, **_described(rows), "failed_expectations": []}


def build_from_run(spark: SparkSession, run_id: str, output: str) -> dict[str, Any]:
    """Make the training set of a run again, and write it to a table. Returns the report.

    Raises:
        NotFound: there is no such run, or a Delta version that it names is gone. InvalidData: the run was not trained
        on a training set of this job. Refused: the rows differ from those of the run; nothing was written.
    """
    noted = _noted_by(run_id)
    made = noted["recipe"]
    declared = declaration_from(made["declaration"], FeatureFile, f"{RECIPE_FILE} of run {run_id}")
    pins = Pins(made["labels_version"], made["features_version"], made["as_of"])
    rows = in_order(training_set(spark, declared, pins).select(made["columns"]))
    if (digest := rows_digest(rows)) != noted["digest"]:
        raise Refused(
            f"The training set of run {run_id} cannot be made again: its rows have the digest {noted['digest']}, and "
            f"the versions that it names now give {digest}. The code that makes features has changed since, or the "
            "tables are others. Nothing was written."
        )
    with one_writer(split_address(output)[0]):
        return {"run": run_id, **_described(write_rows(output, rows, made))}


def _noted_by(run_id: str) -> dict[str, Any]:
    """What a training's run says of its rows: their digest, and the recipe that they were made by."""
    experiments = Experiments(load(RegistrySettings))
    run = experiments.get(run_id)
    if run.tags.get("switchyard.kind") != "training" or run.status != "FINISHED":
        raise InvalidData(f"Run {run_id} is no finished training of `switchyard train`.")
    noted: dict[str, Any] = json.loads(experiments.read(run, RECIPE_FILE))
    if not {"declaration", "columns", "labels_version", "features_version", "as_of"} <= (noted["recipe"] or {}).keys():
        raise InvalidData(f"Run {run_id} was trained on {noted['table']}, which `switchyard features` did not make.")
    return noted


def _newest_pins(spark: SparkSession, declared: FeatureFile, as_of: str | None) -> Pins:
    labels = newest_version(spark, f"{declared.table}_labels")
    if labels is None:
        raise NotFound(f"There is no table {declared.table}_labels.")
    return Pins(labels, newest_version(spark, declared.table) if declared.features else None, as_of)


def _write_training_set(spark: SparkSession, declared: FeatureFile, pins: Pins) -> Rows:
    rows = training_set(spark, declared, pins)
    return write_rows(f"{declared.table}_training", rows, recipe(declared, pins))


def _described(rows: Rows) -> dict[str, Any]:
    return {"training_set": str(rows), "training_rows": rows.data.num_rows, "digest": rows.digest}


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Build, or build again from a run; the result as JSON-ready data."""
    folder = model_folder(options.model)
    if options.from_run is not None:
        with spark_job("feature_engineering", f"Making the training set of run {options.from_run}") as spark:
            return build_from_run(spark, options.from_run, options.output)
    declared = read_declaration(folder / "features.yaml", FeatureFile)
    with spark_job("feature_engineering", f"Building {declared.table}") as spark:
        return build(spark, declared, as_of=options.as_of, rebuild=options.rebuild)


def flow(options: argparse.Namespace, result: Mapping[str, Any] | None) -> run_flows.Flow:
    """What the job reads and writes, for lineage."""
    declared = read_declaration(model_folder(options.model) / "features.yaml", FeatureFile)
    events, labels = declared.events, declared.labels
    made = {name: [one.of or events.event_time] for name, one in declared.features.items()} if events else {}
    inputs = {column: [one.of] for name, one in declared.inputs.items() for column in one.names(name)}
    sources = {**({events.path: made} if events else {}), labels.path: {**inputs, declared.label: [declared.label]}}
    return run_flows.featured(sources, options.output or declared.table, result)


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    lineage = Lineage("features", partial(flow, options))
    return run(job, options, f"Features of {Path(options.model).name}", lineage=lineage)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
