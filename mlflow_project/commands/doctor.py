"""`switchyard doctor`: says what is missing on this machine, and what to type.

Runs `python -m stack doctor` as a process: that also works before anything is installed, and this library must not
import `stack`.
"""

from __future__ import annotations

import json as json_format
import subprocess
import sys
from typing import Any

import typer
from rich.console import Console

from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.errors import ConfigError, NotFound


def add_to(app: typer.Typer) -> None:
    """One command: doctor."""
    app.command()(doctor)


@reports_errors
def doctor(json: Json = False) -> None:
    """Say what this machine lacks, and what to type.

    Exit code 2 if anything is missing or too old.
    """
    checks = _checks()
    emit(checks, json, lambda console: _show(console, checks))
    if not all(check["ok"] for check in checks):
        raise typer.Exit(ConfigError.exit_code)


def _checks() -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-m", "stack", "doctor", "--json"], capture_output=True, text=True)
    try:
        found: list[dict[str, Any]] = json_format.loads(done.stdout)
    except ValueError as error:
        raise NotFound(
            f"`python -m stack doctor` failed. Run this command in a clone of the repository. It said: {done.stderr}"
        ) from error
    return found


def _show(console: Console, checks: list[dict[str, Any]]) -> None:
    rows = [
        ["ok" if c["ok"] else "NO", c["check"], c["found"], "" if c["ok"] else c["wanted"], c["fix"]] for c in checks
    ]
    console.print(table(["", "check", "found", "wanted", "what to do"], rows))
