"""`switchyard register DIR`: a prompt folder becomes versions in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlflow_project.commands.output import Json, emit, reports_errors, table


def add_to(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(register)


@reports_errors
def register(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The prompt's folder, such as prompts/qa.")],
    template: Annotated[list[str] | None, typer.Option(help="Only this template, such as v1.md; repeatable.")] = None,
    json: Json = False,
) -> None:
    """Prompt folder -> a new version where the content changed; alias Candidate."""
    from dataclasses import asdict

    from mlflow_project.adapters.object_store import ObjectStore
    from mlflow_project.adapters.registry import Registry
    from mlflow_project.registration import register as registration
    from mlflow_project.settings import ProviderSettings, RegistrySettings, StoreSettings, load

    rows = registration.register(
        folder,
        registry=Registry(load(RegistrySettings)),
        store=ObjectStore(load(StoreSettings)),
        only=template,
        with_key=load(ProviderSettings).llm_api_key is not None,
    )
    lines = [
        (row.template, f"{row.name}/{row.version}", "new" if row.created else "was there already", row.digest[:19])
        for row in rows
    ]
    emit(
        [asdict(row) for row in rows],
        json,
        lambda console: console.print(table(("template", "version", "", "digest"), lines)),
    )
