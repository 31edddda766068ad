"""The training set of a model -> the next version of the registered model.

    spark-submit spark_jobs/model_training_job.py <model folder> [--data TABLE@VERSION]

In: the folder's `model.yaml`, and a Delta table at a version. Out: a version in MLflow, with one run for the training
and a child run for each estimator that was tried. The same as `switchyard train`, for schedulers that start Spark jobs.
Candidates with `library: spark` are trained by MLlib on the executors; all others in the driver, on one machine.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from functools import partial
from pathlib import Path
from typing import Any

from mlflow_project.adapters import run_flows
from mlflow_project.settings import RegistrySettings, load
from mlflow_project.training.files import model_folder, read_declaration
from mlflow_project.training.model_file import ModelFile
from mlflow_project.training.run import train_model
from spark_jobs.mllib_training import on_spark
from spark_jobs.program import Arguments, Lineage, run
from spark_jobs.session import spark_job

USAGE = "model_training_job.py <model folder> [--data TABLE@VERSION] [--again]"


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("model", help="a model's folder, or its name below models/")
    parser.add_argument("--data", metavar="TABLE", help="the rows; the default is `data` of model.yaml")
    parser.add_argument("--again", action="store_true", help="train although the same was trained before")
    return parser.parse_args(argv)


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Train; the result as JSON-ready data."""
    folder = model_folder(options.model)
    declared = read_declaration(folder / "model.yaml", ModelFile)
    train = partial(
        train_model,
        folder.name,
        declared,
        options.data,
        load(RegistrySettings),
        user=getpass.getuser(),
        again=options.again,
    )
    if not declared.on_spark:
        return train().to_dict()
    with spark_job("model_training", f"Training {folder.name}") as spark:
        return train(prepare=partial(on_spark, spark)).to_dict()


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    flow = partial(run_flows.trained, Path(options.model).name, options.data)
    return run(job, options, f"Training of {Path(options.model).name}", lineage=Lineage("train", flow))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
