"""How a command reads a version's number: the parser of every option and argument that takes one."""

from __future__ import annotations

import typer

from mlflow_project.domain.release import version_number
from mlflow_project.errors import InvalidData


def version_option(text: str) -> int:
    """The number; what is not one ends the command with exit code 2."""
    try:
        return version_number(str(text))
    except InvalidData as error:
        raise typer.BadParameter(str(error)) from error
