"""`new` and `register`: begin a prompt folder, and write its templates to MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mlflow_project.commands.arguments import Text
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.output import Json, emit, progress, reports_errors, table
from mlflow_project.errors import WorkspaceError


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(new)
    app.command()(register)


@reports_errors
def new(
    name: Annotated[Text, typer.Argument(metavar="NAME", parser=str, help="The new prompt's name, as in support.")],
    prompts: Annotated[Path, typer.Option("--in", metavar="FOLDER", help="The folder that holds all prompts.")] = Path(
        "prompts"
    ),
    table: Annotated[
        str | None, typer.Option(metavar="TABLE", help="A chunk table to retrieve contexts from: s3a://bucket/table.")
    ] = None,
    json: Json = False,
) -> None:
    """Begin a prompt: a folder with a template, a policy and example cases."""
    from mlflow_project.registration.new_prompt import FILES, new_prompt

    folder = new_prompt(name, prompts, table)
    data = {"folder": str(folder), "files": list(FILES)}
    emit(data, json, lambda console: console.print(_next_steps(name, folder), markup=False, soft_wrap=True))


def _next_steps(name: str, folder: Path) -> str:
    return f"""Wrote {folder}: v1.md (the template), policy.yaml (what a version must show), cases.jsonl (two examples).

Next:
  1. Replace the examples in {folder}/cases.jsonl by at least 30 cases of your own.
  2. switchyard register {folder}
  3. switchyard evaluate {name}@Candidate
  4. switchyard gate {name}@Candidate
  5. switchyard promote {name}@Candidate --to Production"""


@reports_errors
def register(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A prompt folder, as in prompts/qa.")],
    template: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Only this template, as in v1.md; repeatable.")
    ] = None,
    notify: Annotated[
        bool, typer.Option("--notify", help="Tell Airflow of new versions, which starts their evaluation there.")
    ] = False,
    cases_elsewhere: Annotated[
        bool,
        typer.Option("--cases-elsewhere", help="Allow a folder outside prompts/, whose cases --cases will name."),
    ] = False,
    json: Json = False,
) -> None:
    """Write a prompt folder's templates to MLflow as versions.

    A template whose content is registered already keeps its version. The alias Candidate points at the newest one.
    """
    from dataclasses import asdict

    from mlflow_project.registration import register as registration
    from mlflow_project.registration.checks import check_cases_are_found
    from mlflow_project.settings import ProviderSettings, load

    if not cases_elsewhere:
        check_cases_are_found(folder, Path("prompts"))
    with command_parts() as parts:
        has_key = load(ProviderSettings).llm_api_key is not None
        rows = registration.register(
            folder, registry=parts.registry, store=parts.store, only=template, with_key=has_key
        )
    _tell_airflow([(row.name, row.version) for row in rows if row.created], asked=notify)
    lines = [
        (row.template, f"{row.name}/{row.version}", "new" if row.created else "was there already", row.digest[:19])
        for row in rows
    ]
    emit(
        [asdict(row) for row in rows],
        json,
        lambda console: console.print(table(("template", "version", "", "digest"), lines)),
    )


def _tell_airflow(candidates: Sequence[tuple[str, int]], *, asked: bool) -> None:
    """Tell Airflow of new versions if `--notify` or the setting asks for it, and print the result. If Airflow does not
    answer, the versions stay registered.
    """
    from mlflow_project.adapters.airflow import airflow_settings, announce_candidates

    settings = airflow_settings()
    if not candidates or not (asked or settings.announce_candidates):
        return
    try:
        progress.print(announce_candidates(settings, candidates), markup=False, soft_wrap=True)
    except WorkspaceError as error:
        progress.print(f"Registered, but Airflow was not told: {error}", style="yellow", markup=False, soft_wrap=True)
