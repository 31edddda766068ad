"""`lineage publish`: sends OpenLineage events to a catalogue."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mlflow_project.commands.arguments import whole_number
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.output import Json, emit, progress, reports_errors
from mlflow_project.errors import Refused

if TYPE_CHECKING:
    from mlflow_project.catalog.publish import Published

Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Send everything from this time on again, as to a catalogue that was wiped."),
]
Follow = Annotated[
    int | None,
    typer.Option(metavar="SECONDS", parser=whole_number(1), help="Go on: look for news every so many seconds."),
]


@reports_errors
def publish(since: Since = None, follow: Follow = None, as_json: Json = False) -> None:
    """Send OpenLineage events of jobs, verdicts and flips to a catalogue.

    OpenLineage's own configuration names the catalogue: openlineage.yml or OPENLINEAGE_URL. Without one, events go to
    lineage/events.jsonl of the state folder. Exit code 3: the catalogue did not take an event; nothing is lost.
    """
    from mlflow_project.catalog.publish import openlineage_client, unavailable
    from mlflow_project.catalog.publish import publish as send
    from mlflow_project.domain.times import read_time, utc_text

    start = None if since is None else utc_text(read_time(since))
    with command_parts() as parts:
        client = openlineage_client()
        while True:
            done = send(parts.store, parts.ledger, client, start)
            if follow is None:
                break
            if done.sent or done.waiting:
                progress.print(_sentence(done), markup=False, soft_wrap=True)
            start = None
            time.sleep(follow)
    emit(done.to_dict(), as_json, lambda console: _show(console, done))
    if (error := unavailable(done)) is not None:
        raise error
    if done.refused or done.unreadable:
        raise typer.Exit(Refused.exit_code)


def _sentence(done: Published) -> str:
    waiting = f", {done.waiting:,} wait: {done.why}" if done.waiting else ""
    return f"{done.sent:,} events sent by the transport {done.transport}{waiting}."


def _show(console: Console, done: Published) -> None:
    console.print(_sentence(done), markup=False, soft_wrap=True)
    for each in done.refused:
        console.print(f"The catalogue refused {each}", markup=False, soft_wrap=True)
    for each in done.unreadable:
        console.print(f"Cannot be read: {each}", markup=False, soft_wrap=True)
