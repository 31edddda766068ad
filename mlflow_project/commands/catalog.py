"""`catalog push` and `catalog check`: an OpenMetadata server, and what is true."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.errors import Refused

if TYPE_CHECKING:
    from mlflow_project.catalog.openmetadata.push import Outcome

_WORDS = Path("docs/guide/words.md")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    catalog = typer.Typer(help="Keep an OpenMetadata server up to date.", no_args_is_help=True)
    catalog.callback()(_catalog)
    catalog.command(name="push")(push)
    catalog.command(name="check")(check)
    app.add_typer(catalog, name="catalog")


def _catalog() -> None:
    """Keep an OpenMetadata server up to date."""


@reports_errors
def push(as_json: Json = False) -> None:
    """Write what changed to OpenMetadata: tables, topics, DAGs, models, prompts, lineage, checks.

    SWITCHYARD_OPENMETADATA_URL names the server. Can be repeated: a second call writes nothing. Exit code 3: the server
    does not answer.
    """
    outcome = _compared(write=True)
    emit(outcome.to_dict(), as_json, lambda console: _show(console, outcome, "written"))


@reports_errors
def check(as_json: Json = False) -> None:
    """Compare OpenMetadata with what is true, and name what differs. Writes nothing.

    Exit code 4 if something differs.
    """
    outcome = _compared(write=False)
    emit(outcome.to_dict(), as_json, lambda console: _show(console, outcome, "different"))
    if outcome.drifts:
        raise typer.Exit(Refused.exit_code)


def _compared(*, write: bool) -> Outcome:
    from mlflow_project.catalog.openmetadata.client import OpenMetadata
    from mlflow_project.catalog.openmetadata.facts import facts_of
    from mlflow_project.catalog.openmetadata.push import compare
    from mlflow_project.catalog.openmetadata.words import words_of
    from mlflow_project.catalog.records import every_run
    from mlflow_project.settings import CatalogSettings, load

    client = OpenMetadata(load(CatalogSettings))
    try:
        with command_parts() as parts:
            words = words_of(_WORDS.read_text(encoding="utf-8")) if _WORDS.is_file() else {}
            facts = facts_of(parts, every_run(parts.store, parts.ledger), words)
            return compare(client, facts, write=write)
    finally:
        client.close()


def _show(console: Console, outcome: Outcome, done: str) -> None:
    rows = [(each.of, each.what, each.says, each.true) for each in outcome.drifts]
    if rows:
        console.print(table(("of", "what", "the catalogue says", "true is"), rows))
    said = f"{outcome.server}: {len(rows):,} {done}, {outcome.compared - len(rows):,} as they are."
    console.print(said, markup=False, soft_wrap=True)
