"""`switchyard`: assembles the commands. Heavy libraries are imported by the command that needs them, so that a rollback
starts as fast as `--help`."""

from __future__ import annotations

import importlib
import sys

import typer

from mlflow_project.logs import set_up_logs
from mlflow_project.telemetry.sending import send_once

_ROOMS = ("knowledge", "registration", "evaluation", "promotion", "drift", "feedback", "record", "serving", "doctor")


def build() -> typer.Typer:
    """The whole command line. Each room has `add_to(app)`."""
    app = typer.Typer(
        name="switchyard",
        help="Flip an alias, and the traffic moves.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for room in _ROOMS:
        importlib.import_module(f"mlflow_project.commands.{room}").add_to(app)
    return app


def main() -> None:
    """The console script. A defect of ours ends with exit code 1 and says where its trace went."""
    set_up_logs()
    try:
        build()()
    except Exception as error:
        from mlflow_project.logs import record_defect

        sys.stderr.write(f"This is a defect of Switchyard's: {type(error).__name__}: {error}\n{record_defect()}\n")
        sys.exit(1)
    finally:
        send_once("switchyard-command")
