"""`switchyard providers check`: asks every endpoint one word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mlflow_project.commands.arguments import Text, amount
from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from mlflow_project.adapters.providers.endpoints import Endpoints
    from mlflow_project.settings import ProviderSettings


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    providers = typer.Typer(name="providers", help="The endpoints that prompts can ask.", no_args_is_help=True)
    providers.command("check")(check)
    app.add_typer(providers)

    @providers.callback()
    def group() -> None:
        """The endpoints that prompts can ask."""


@reports_errors
def check(
    endpoint: Annotated[
        Text | None,
        typer.Argument(metavar="ENDPOINT", parser=str, help="A name from providers.yaml, or default. All without it."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Ask this model instead of those that the endpoints name.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", parser=amount, help="How long each one may take.")
    ] = 60.0,
    json: Json = False,
) -> None:
    """Ask each endpoint one word: what it costs, how long it takes, and what is wrong with it.

    Exit code 3 if one of them does not answer.
    """
    import asyncio
    from dataclasses import asdict

    from mlflow_project.adapters.providers import Providers
    from mlflow_project.answering.endpoint_check import EndpointCheck, check_endpoints
    from mlflow_project.settings import ProviderSettings, load

    settings = load(ProviderSettings)

    async def ask() -> list[EndpointCheck]:
        async with Providers(settings) as providers:
            names = [endpoint] if endpoint is not None else _names(settings, providers.endpoints)
            return await check_endpoints(providers, names, model, seconds)

    rows = [asdict(row) for row in asyncio.run(ask())]
    emit(rows, json, lambda console: _show(console, rows))
    if not all(row["ok"] for row in rows):
        raise typer.Exit(Unavailable.exit_code)


def _names(settings: ProviderSettings, endpoints: Endpoints) -> list[str]:
    """Every endpoint of the file, and `default` where its address or its key is set.

    Raises:
        ConfigError: there is none.
    """
    default = ["default"] if settings.model_fields_set & {"llm_api_url", "llm_api_key"} else []
    if names := [*default, *endpoints.names]:
        return names
    raise ConfigError(
        "No endpoint is set up. Set LLM_API_KEY (and LLM_API_URL), or name endpoints in a file that "
        "SWITCHYARD_PROVIDERS names."
    )


def _show(console: Console, rows: list[dict[str, Any]]) -> None:
    cells = [
        [
            "ok" if row["ok"] else "NO",
            row["endpoint"],
            f"{row['protocol']} {row['address']}",
            row["model"],
            "" if row["milliseconds"] is None else f"{row['milliseconds']:.0f} ms",
            "" if row["input_tokens"] is None else f"{row['input_tokens']} + {row['output_tokens']}",
            "" if row["cost_usd"] is None else f"{row['cost_usd']:.6f} USD",
            " ".join(part for part in (row["wrong"], row["fix"]) if part),
        ]
        for row in rows
    ]
    console.print(table(["", "endpoint", "address", "model", "time", "tokens", "cost", "what is wrong"], cells))
