"""`features` and `train`: bring a model's tables up to date, and train and register its next version."""

from __future__ import annotations

import getpass
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from mlflow_project.commands.arguments import Text
from mlflow_project.commands.knowledge import run_job
from mlflow_project.commands.output import Json, emit, reports_errors, table

Model = Annotated[Text, typer.Argument(metavar="MODEL", parser=str, help="A name below models/, or a model's folder.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(features)
    app.command()(train)


@reports_errors
def features(
    model: Model,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Use only labels that were known by then, as in 2026-11-30T00:00Z."),
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Compute all feature rows anew.")] = False,
    from_run: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Make the training set of this MLflow run again, and write it to --output."),
    ] = None,
    output: Annotated[str | None, typer.Option(metavar="TABLE", help="The table that --from-run writes.")] = None,
    as_json: Json = False,
) -> None:
    """Bring a model's features and its training set up to date.

    Reads the raw rows that the model's features.yaml names and adds what is new. A training row holds only what was
    known at its time. Exit code 4: an expectation of features.yaml failed; only the quarantine was written.
    """
    named = {"--as-of": as_of, "--from-run": from_run, "--output": output}
    given = [word for option, value in named.items() if value is not None for word in (option, value)]
    job = [model, *given, *(["--rebuild"] if rebuild else [])]
    run_job("spark-submit", "feature_engineering_job.py", job, as_json)


@reports_errors
def train(
    model: Model,
    data: Annotated[
        str | None,
        typer.Option(metavar="TABLE", help="The rows, as in s3a://bucket/table@3. Default: `data` of model.yaml."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Train although the same was trained before.")] = False,
    as_json: Json = False,
) -> None:
    """Train the candidates of a model.yaml and register the best one.

    The same rows, declaration and code are trained once: a second call names the version of the first.
    """
    from mlflow_project.adapters import run_flows
    from mlflow_project.adapters.run_log import recorded_run
    from mlflow_project.settings import RegistrySettings, load
    from mlflow_project.training.files import model_folder, read_declaration
    from mlflow_project.training.model_file import ModelFile
    from mlflow_project.training.run import train_model

    folder = model_folder(model)
    declared = read_declaration(folder / "model.yaml", ModelFile)
    if declared.on_spark:
        given = ["--data", data] if data else []
        run_job("spark-submit", "model_training_job.py", [model, *given, *(["--again"] if again else [])], as_json)
        return
    flow = partial(run_flows.trained, folder.name, data or declared.data)
    begun = flow(None)
    with recorded_run("train", begun.inputs, begun.outputs) as running:
        made = train_model(folder.name, declared, data, load(RegistrySettings), user=getpass.getuser(), again=again)
        running.describe = lambda: running.learn(flow(made.to_dict()))
    rows = [[name, f"{value:.4f}"] for name, value in sorted(made.metrics.items())]
    done = "is registered" if made.new else "was trained from the same before"
    label = f"{made.name}/{made.version}"
    lines = (
        f"{label} {done} ({made.chosen})",
        f"trained on {made.data}",
        f"tested on {made.test_set}",
        f"In MLflow: {made.address}",
        f"Next: switchyard evaluate {label}",
    )

    def show(console: Console) -> None:
        console.print("\n".join(lines), markup=False, soft_wrap=True)
        console.print(table(["metric", "held out"], rows))

    emit(made.to_dict(), as_json, show)
