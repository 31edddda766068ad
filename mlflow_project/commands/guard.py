"""`guard`: run the guard, or show what it says of rollouts and new releases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlflow_project.commands.output import Json, emit, reports_errors, table

if TYPE_CHECKING:
    from rich.console import Console


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(guard)


@reports_errors
def guard(
    show: Annotated[
        bool, typer.Option("--show", help="Show the guard's last word on each name, and run nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Run the guard, until it is stopped.

    The guard watches rollouts and new releases: it takes the next step while nothing is wrong, waits while there is too
    little traffic, and ends the rollout or rolls back when callers are harmed. Of several guards one watches.
    """
    if show or json:
        from mlflow_project.commands.bootstrap import command_parts
        from mlflow_project.guard.words import words

        with command_parts() as parts:
            found = words(parts.store)
        emit(found, json, lambda console: _show(console, found))
        return
    from mlflow_project.guard.process import run_guard

    run_guard()


def _show(console: Console, words: dict[str, dict[str, Any]]) -> None:
    if not words:
        console.print("The guard has watched nothing yet.")
        return
    rows = [
        [name, f"{name}/{word['new']}", word["watches"], word["state"].replace("_", " "), word["at"], word["sentence"]]
        for name, word in sorted(words.items())
    ]
    console.print(table(["name", "release", "watches", "state", "at", "why"], rows))
