"""`switchyard drift`: have the questions, answers or documents of a prompt changed since its release went live?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mlflow_project.commands.arguments import Name
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.output import Json, emit, progress, reports_errors, table
from mlflow_project.errors import InvalidData, NotFound, WorkspaceError

if TYPE_CHECKING:
    from mlflow_project.drift.watch import Watched
    from mlflow_project.parts import Parts

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
LONGEST = timedelta(days=3660)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reports_errors(drift))


def drift(
    name: Name,
    window: Annotated[str, typer.Option(metavar="LENGTH", help="How far back to look: 90m, 24h or 7d.")] = "24h",
    pin: Annotated[
        bool, typer.Option("--pin", help="Take the traffic so far as the reference of a release that has none yet.")
    ] = False,
    collect: Annotated[bool, typer.Option(help="Update the tables of live traffic first.")] = True,
    notify: Annotated[
        bool, typer.Option("--notify", help="Tell Airflow what drifted, which starts runs there.")
    ] = False,
    json: Json = False,
) -> None:
    """Say whether questions, answers, documents, or a model's inputs and predictions have changed.

    Compares recent traffic with the traffic just after the release went live. Logs an MLflow run, rows in a Delta
    table, and metrics. Finding drift is no error: the exit code is 0.
    """
    length = length_of(window)
    with command_parts() as parts:
        watched = _watch(parts, name, length, collect=collect, early=pin)
        results, delta_version = _keep(parts, watched)
        announced = _announce(watched, asked=notify)
    data = {
        "name": name,
        "window": window,
        "drifted": any(one.status == "drift" for one in watched),
        "delta_version": delta_version,
        "announced": announced,
        "releases": [one for one in results if one["counted"] == "answers"],
        "corpus": next((one for one in results if one["counted"] == "documents"), None),
    }
    emit(data, json, lambda console: _show(console, results))


def length_of(window: str) -> timedelta:
    """The length of a window.

    Raises:
        InvalidData: it is not a number with m, h or d, or longer than ten years.
    """
    match = re.fullmatch(r"([0-9]{1,6})([mhd])", window)
    length = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match is not None else timedelta()
    if not timedelta() < length <= LONGEST:
        raise InvalidData(
            f"Cannot read {window!r} as a window. Write minutes, hours or days, up to ten years: 90m, 24h, 7d."
        )
    return length


def _watch(parts: Parts, name: str, window: timedelta, *, collect: bool, early: bool) -> list[Watched]:
    """Check the answers of the window, and the documents of the live release."""
    from mlflow_project.commands.collecting import collect as collect_events
    from mlflow_project.drift.corpus import corpus_drift
    from mlflow_project.drift.watch import watch

    until = datetime.now(UTC)
    if collect:
        collect_events(parts.store)
    documents = corpus_drift(parts.registry, name)
    try:
        answers = watch(parts.store, name, window, until, early=early)
    except NotFound as error:
        if documents is None:
            raise
        progress.print(str(error), markup=False)
        answers = ()
    return [*answers, *([documents] if documents is not None else [])]


def _keep(parts: Parts, watched: Sequence[Watched]) -> tuple[list[dict[str, Any]], int | None]:
    """Write MLflow runs, rows of the Delta table, and metrics. Returns the results as data, and the table's version."""
    from mlflow_project.drift import record

    runs = [record.keep_run(parts.experiments, one) if one.found else None for one in watched]
    delta_version = record.keep_rows(parts.store, watched)
    record.record_metrics(parts.meters, watched)
    return [{**record.plain(one), "run": run} for one, run in zip(watched, runs, strict=True)], delta_version


def _announce(watched: Sequence[Watched], *, asked: bool) -> list[str]:
    """Tell Airflow what drifted if `--notify` or the setting asks for it, and print the result. Returns the assets of
    the events. If Airflow does not answer, all other results stay.
    """
    from mlflow_project.adapters.airflow import airflow_settings
    from mlflow_project.drift.record import announce

    settings = airflow_settings()
    if not (asked or settings.announce_candidates):
        return []
    try:
        assets = announce(settings, watched)
        if assets:
            progress.print(
                f"Airflow was told of {', '.join(assets)}. Look at {settings.airflow_url}/dags.", markup=False
            )
        return assets
    except WorkspaceError as error:
        progress.print(f"Airflow was not told: {error}", style="red", markup=False)
        return []


def _show(console: Console, results: Sequence[Mapping[str, Any]]) -> None:
    for one in results:
        if one["found"]:
            rows = [
                [row["check"], row["kind"], f"{row['distance']:.3g}", f"{row['usual']:.3g}", f"{row['score']:.2f}"]
                for row in one["found"]
            ]
            title = f"{one['release']}, {one['counted']}"
            console.print(table(["check", "kind", "distance", "usual", "score (1 alarms)"], rows, title))
        console.print(str(one["explanation"]), markup=False)
        if one["run"]:
            console.print(f"In MLflow: {one['run']}", soft_wrap=True)
