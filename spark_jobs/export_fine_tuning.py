"""Question/answer rows and conversations -> files for fine-tuning, in OpenAI's or Gemini's chat form.

    spark-submit spark_jobs/export_fine_tuning.py <input_path> <output_folder> [--provider openai|gemini]

In: JSON lines (plain, gzip), Parquet or a Delta table. Out, in the folder: `train.jsonl`, `validation.jsonl` and
`test.jsonl`, split by document (no document is in two), with equal bytes for equal input; `rejected.jsonl` with rows
that were left out and the reasons; `manifest.json` last. Logs the set to MLflow as a dataset of a run in the experiment
`fine-tuning`.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from typing import Any

from mlflow_project.adapters import run_flows
from mlflow_project.adapters.experiments import Experiments
from mlflow_project.errors import InvalidData
from mlflow_project.rules.fine_tuning import FORMS, SPLITS, ExampleFields
from mlflow_project.settings import LogSettings, RegistrySettings, load
from spark_jobs.fine_tuning import Export, export
from spark_jobs.program import Arguments, Lineage, run, share
from spark_jobs.session import spark_job

USAGE = "export_fine_tuning.py <input_path> <output_folder> [--provider openai|gemini]"
EXPERIMENT = "fine-tuning"


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("input_path")
    parser.add_argument("output_folder")
    parser.add_argument(
        "--provider",
        choices=tuple(FORMS),
        default="openai",
        help="the provider whose format is written (default openai)",
    )
    parser.add_argument("--system", metavar="TEXT", help="a system turn for conversations that have none")
    parser.add_argument("--mask", action="store_true", help="replace personal data and secrets by their kind")
    parser.add_argument("--validation", type=share, default=0.1, metavar="SHARE", help="share (default 0.1)")
    parser.add_argument("--test", type=share, default=0.1, metavar="SHARE", help="share (default 0.1)")
    parser.add_argument("--no-mlflow", action="store_true", help="do not log the set to MLflow")
    for name, default in (("document", "document_id"), ("id", "id"), ("question", "question"), ("answer", "answer")):
        parser.add_argument(f"--{name}-field", default=default, metavar="NAME", help=f"the field of the {name}")
    parser.add_argument("--messages-field", default="messages", metavar="NAME", help="the field of the turns")
    return parser.parse_args(argv)


def request(options: argparse.Namespace) -> Export:
    """The options as a request.

    Raises:
        InvalidData: the shares leave nothing to train on.
    """
    train = 1 - options.validation - options.test
    if train <= 0:
        raise InvalidData(
            f"Shares of {options.validation} for validation and {options.test} for test leave nothing to train on: "
            "give less."
        )
    fields = ExampleFields(
        options.document_field, options.id_field, options.question_field, options.answer_field, options.messages_field
    )
    shares = (train, options.validation, options.test)
    own = load(LogSettings).mask_patterns if options.mask else {}
    return Export(
        options.input_path, options.output_folder, options.provider, fields, shares, options.system, options.mask, own
    )


def log_dataset(experiments: Experiments, manifest: dict[str, Any]) -> str:
    """Log the set as a dataset of a finished MLflow run. Returns the run's id. The same set is logged once.

    Raises:
        Unavailable: MLflow does not answer.
    """
    experiment = experiments.experiment(EXPERIMENT)
    tags = {"switchyard.dataset": manifest["digest"]}
    known = experiments.find(experiment, tags)
    if known:
        return known[0].id
    run = experiments.start(experiment, f"{manifest['provider']} {manifest['digest'][7:19]}", tags)
    parameters = {key: manifest[key] for key in ("source", "output", "provider", "masked", "shares")}
    counts = {f"{name}_examples": float(manifest["splits"][name]["examples"]) for name in SPLITS}
    experiments.log(run, parameters=parameters, metrics=counts)
    for name in SPLITS:
        split = manifest["splits"][name]
        source = f"{manifest['output']}/{name}.jsonl"
        experiments.log_dataset(run, digest=split["sha256"], source=source, rows=split["examples"], context=name)
    experiments.finish(run)
    return run.id


def summary(manifest: dict[str, Any]) -> dict[str, Any]:
    """What came out: the examples of each part, and the shares that were asked for and found."""
    counts = {"read": manifest["read"], **{name: manifest["splits"][name]["examples"] for name in SPLITS}}
    shares = {"shares": [round(each, 4) for each in manifest["shares"]], "shares_found": manifest["shares_found"]}
    return {**counts, **shares, **{name: manifest[name] for name in ("rejected", "masked_items", "digest")}}


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Export; the result as JSON-ready data."""
    started = time.monotonic()
    asked = request(options)
    with spark_job("export_fine_tuning", f"Exporting {asked.source}") as spark:
        manifest = export(spark, asked)
    logged = None if options.no_mlflow else log_dataset(Experiments(load(RegistrySettings)), manifest)
    return {**summary(manifest), "run": logged, "seconds": round(time.monotonic() - started, 3)}


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    flow = partial(run_flows.exported, options.input_path, options.output_folder)
    return run(job, options, f"{options.input_path} -> {options.output_folder}", lineage=Lineage("export", flow))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
