"""`switchyard hosts`: lists the hosts that announce themselves, and forgets one."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from mlflow_project.commands.arguments import Text
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.output import Json, emit, reports_errors, table


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    hosts = typer.Typer(name="hosts", help="Which hosts announce themselves and serve.", no_args_is_help=True)
    hosts.command("list")(list_hosts)
    hosts.command("forget")(forget_host)
    app.add_typer(hosts)


@reports_errors
def list_hosts(json: Json = False) -> None:
    """List every host that has announced itself, also those that are gone or do not count, with the reason."""
    from mlflow_project.promotion.hosts import read_hosts

    with command_parts() as parts:
        hosts = [host.to_dict() for host in read_hosts(parts.store)]
    emit(hosts, json, lambda console: _show(console, hosts))


@reports_errors
def forget_host(
    host: Annotated[Text, typer.Argument(metavar="HOST", parser=str, help="As `hosts list` shows it.")],
    json: Json = False,
) -> None:
    """Delete the record of a host, so that no flip waits for it. A host that still runs announces itself again."""
    from mlflow_project.promotion.hosts import forget

    with command_parts() as parts:
        forget(parts.store, host)
    emit({"host": host, "forgotten": True}, json, lambda console: console.print(f"Forgot {host}.", markup=False))


def _show(console: Console, hosts: list[dict[str, Any]]) -> None:
    if not hosts:
        console.print("No host has announced itself yet. `make up` starts a follower, which does.")
        return
    rows = [
        [host["host"], "yes" if host["lives"] else "no", len(host["workers"]), host["written"], host["odd"]]
        for host in hosts
    ]
    console.print(table(["host", "lives", "workers", "last written", "does not count because"], rows))
