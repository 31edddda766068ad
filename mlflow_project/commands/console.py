"""`console`: runs the web console, in the place of this process."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import typer

from mlflow_project.commands.output import reports_errors
from mlflow_project.errors import ConfigError

_NEEDED = ("console", "fastapi", "uvicorn", "jinja2")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(console)


@reports_errors
def console() -> None:
    """Run the web console, until it is stopped. `make up` starts it beside the stack.

    Its address is SWITCHYARD_CONSOLE_URL, http://127.0.0.1:8001 by default.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"The console needs {', '.join(missing)}, which this Python has not: install switchyard[console]."
        )
    os.execv(sys.executable, [sys.executable, "-m", "console"])
