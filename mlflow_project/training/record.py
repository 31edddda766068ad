"""What MLflow keeps of a training: one parent run, a child run for each estimator that was tried, the registered model.

In: what was trained. Out: run ids and the version of the registered model. A child run has its parameters and its
score in each fold. The parent run has the metrics of the held-out rows, curves, importances, and what the rows were
made from.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from mlflow_project.adapters.experiments import Experiments, Run
from mlflow_project.errors import Unavailable
from mlflow_project.rules.canonical import canonical
from mlflow_project.training.data import RECIPE_FILE, Rows
from mlflow_project.training.material import Material
from mlflow_project.training.metrics import importances, pictures
from mlflow_project.training.model_file import METRICS, ModelFile
from mlflow_project.training.training import Trained, Tried

_PARENT = "mlflow.parentRunId"
_ROWS_OF_THE_EXAMPLE = 3
_NEEDED_TO_LOAD = ("mlflow", "scikit-learn", "skops", "numpy", "scipy", "pandas", "lightgbm")


def child_run(experiments: Experiments, parent: Run, tried: Tried, declared: ModelFile) -> None:
    """Keep one estimator that was tried."""
    run = experiments.start(
        parent.experiment, tried.name, {_PARENT: parent.id, "switchyard.candidate": tried.candidate}
    )
    sign = -1.0 if METRICS[declared.task][declared.metric].startswith("neg_") else 1.0
    folds = {f"fold_{number}_{declared.metric}": sign * score for number, score in enumerate(tried.scores, 1)}
    experiments.log(
        run,
        parameters={"kind": tried.kind, **tried.parameters},
        metrics={f"cv_{declared.metric}": sign * tried.mean, **folds},
    )
    experiments.finish(run)


def result(experiments: Experiments, run: Run, declared: ModelFile, material: Material, trained: Trained) -> None:
    """Keep what came out, in the parent run."""
    data, test, held = material.data, material.test, material.test_set
    parameters = {
        "chosen": trained.best.name,
        "kind": trained.best.kind,
        **trained.best.parameters,
        "metric": declared.metric,
        "seed": declared.seed,
        "folds": declared.folds,
        "threads": declared.threads,
        "data": str(data),
        "data_digest": data.digest,
        "test_set": str(held),
        "training_rows": material.training_rows,
        "test_rows": len(test.labels),
    }
    experiments.log(run, parameters=parameters, metrics=trained.metrics)
    experiments.log_dataset(run, digest=data.digest, source=str(data), rows=data.rows, context="training")
    experiments.log_dataset(run, digest=held.digest, source=str(held), rows=held.data.num_rows, context="testing")
    made = {"table": data.table, "version": data.version, "digest": data.digest, "recipe": data.recipe}
    experiments.write(run, RECIPE_FILE, canonical(made))
    experiments.write(run, "model.json", canonical(declared.model_dump(mode="json")))
    classes = getattr(trained.model, "classes_", None)
    drawn = pictures(declared.task, test.labels, trained.predictions, trained.probabilities, classes)
    for name, picture in drawn.items():
        experiments.write(run, name, picture)
    if found := importances(trained.model, test.rows, test.labels, declared.seed):
        experiments.write(run, "importances.json", json.dumps(found, indent=1).encode())


def register(name: str, uri: str, run: Run, declared: ModelFile, material: Material, trained: Trained) -> int:
    """Log the model to the run and register it. Returns the number of its version.

    The version has its tags from its first moment. Its format is skops: loading it runs no code from the file.

    Raises:
        Unavailable: MLflow does not answer, or refuses the model.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import infer_signature

    example = material.test.rows.head(_ROWS_OF_THE_EXAMPLE)
    answer = "predict_proba" if declared.output == "probability" else "predict"
    signature = infer_signature(example, getattr(trained.model, answer)(example))
    try:
        with _quietly():
            mlflow.set_tracking_uri(uri)
            with mlflow.start_run(run_id=run.id):
                logged = mlflow.sklearn.log_model(
                    trained.model,
                    name="model",
                    serialization_format="skops",
                    skops_trusted_types=_types_beyond_those_of_skops(trained.model),
                    signature=signature,
                    input_example=example,
                    pip_requirements=[f"{package}=={version(package)}" for package in _NEEDED_TO_LOAD],
                    pyfunc_predict_fn=answer,
                )
            made = mlflow.register_model(logged.model_uri, name, tags=_tags(declared, material.test_set))
    except MlflowException as error:
        raise Unavailable(f"MLflow did not take the model {name}: {str(error)[:300]}") from error
    return int(made.version)


def _tags(declared: ModelFile, held: Rows) -> dict[str, str]:
    """What an evaluation of this version needs to know."""
    return {
        "switchyard.label": declared.label,
        "switchyard.task": declared.task,
        "switchyard.test_table": held.table,
        "switchyard.test_version": str(held.version),
    }


def _types_beyond_those_of_skops(model: Any) -> list[str]:
    """The types in the model that skops does not trust by itself. They come from the estimators of
    `training.candidates`, so from scikit-learn and LightGBM."""
    import skops.io

    found: list[str] = skops.io.get_untrusted_types(data=skops.io.dumps(model))
    return sorted(found)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep MLflow's addresses and remarks from the terminal and the log; stdout is for one JSON document."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "mlflow.sklearn", "mlflow.models.model")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        silent = io.StringIO()
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
