"""Prints for every command: its result on stdout (a table, or one JSON document with `--json`), the rest on stderr.

A `WorkspaceError` becomes one message on stderr and its exit code, never a stack trace.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn, ParamSpec

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlflow_project.errors import WorkspaceError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]

P = ParamSpec("P")

_PIPED_WIDTH = 160  # a file has no width of its own, and rich's default of 80 cuts digests and addresses

progress = Console(stderr=True, highlight=False)
"""Prints progress and remarks, on stderr."""


def emit(data: Any, as_json: bool, human: Callable[[Console], None]) -> None:
    """Print a command's result: the data as one JSON document, or what `human` prints."""
    if as_json:
        sys.stdout.write(json.dumps(data, ensure_ascii=False, default=str) + "\n")
    else:
        human(Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> Table:
    """A plain table. None becomes an empty cell. Square brackets are text, not markup."""
    made = Table(*columns, title=title, title_justify="left", header_style="bold")
    for row in rows:
        made.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return made


def fail(message: str, exit_code: int) -> NoReturn:
    """Print the message on stderr and exit."""
    progress.print(message, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(exit_code)


def reports_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Wrap a command: a `WorkspaceError` ends it with its message and exit code, Ctrl-C with 130."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except WorkspaceError as error:
            fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            fail("Interrupted. Run the same command again: it continues or starts over safely.", 130)
        except BrokenPipeError:
            os._exit(0)

    return wrapped
