"""`switchyard drift`: did the questions or the answers of a prompt change since its release went live?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mlflow_project.commands.output import Json, emit, progress, reports_errors, table
from mlflow_project.errors import InvalidData, WorkspaceError

if TYPE_CHECKING:
    from mlflow_project.rules.drift.calibration import Found

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reports_errors(drift))


def drift(
    name: Annotated[str, typer.Argument(help="The prompt's name, as in `qa`.")],
    window: Annotated[str, typer.Option(help="How far back, as in 90m, 24h or 7d.")] = "24h",
    pin: Annotated[bool, typer.Option("--pin", help="Pin a missing reference now, before its window is over.")] = False,
    collect: Annotated[bool, typer.Option(help="Bring the tables of live traffic up to date first.")] = True,
    json: Json = False,
) -> None:
    """Compare each release's window with its reference: an MLflow run, a Delta table, metrics. Drift is exit code 0."""
    from mlflow_project.adapters.airflow import airflow_settings
    from mlflow_project.adapters.experiments import Experiments
    from mlflow_project.adapters.object_store import ObjectStore
    from mlflow_project.adapters.registry import Registry
    from mlflow_project.commands.collecting import collect as bring_up_to_date
    from mlflow_project.drift import record
    from mlflow_project.drift.corpus import corpus_drift
    from mlflow_project.drift.watch import watch
    from mlflow_project.settings import RegistrySettings, StoreSettings, load

    length = length_of(window)
    store = ObjectStore(load(StoreSettings))
    if collect:
        bring_up_to_date(store)
    watched = watch(store, name, length, early=pin)
    experiments = Experiments(load(RegistrySettings))
    runs = {one.release: record.keep_run(experiments, one) for one in watched if one.found}
    version = record.keep_rows(store, watched)
    corpus = corpus_drift(Registry(load(RegistrySettings)), name)
    record.tell_meters(watched)
    record.tell_corpus(name, corpus)
    try:
        told = record.announce(airflow_settings(), watched)
    except WorkspaceError as error:
        told = []
        progress.print(f"Airflow was not told: {error}", style="red", markup=False)
    releases = [{**record.plain(one), "run": runs.get(one.release)} for one in watched]
    drifted = any(one.status == "drift" for one in watched) or any(one.alarm for one in corpus)
    data = {"name": name, "window": window, "drifted": drifted, "delta_version": version, "announced": told}
    data |= {"releases": releases, "corpus": [{**vars(one), "alarm": one.alarm} for one in corpus]}
    emit(data, json, lambda console: _show(console, releases, corpus))


def length_of(window: str) -> timedelta:
    """A window's length.

    Raises:
        InvalidData: it is not a number with m, h or d.
    """
    match = re.fullmatch(r"(\d{1,6})([mhd])", window)
    if match is None or not int(match[1]):
        raise InvalidData(f"A window is a number with m, h or d, as in 24h, not {window!r}.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _show(console: Console, releases: list[dict[str, object]], corpus: Sequence[Found]) -> None:
    for one in releases:
        found = one["found"]
        assert isinstance(found, list)
        if found:
            rows = [
                [row["check"], row["kind"], f"{row['distance']:.3g}", f"{row['usual']:.3g}", f"{row['score']:.2f}"]
                for row in found
            ]
            console.print(table(["check", "kind", "distance", "usual", "score (1 alarms)"], rows, str(one["release"])))
        console.print(str(one["explanation"]), markup=False)
        if one["run"]:
            console.print(f"In MLflow: {one['run']}", soft_wrap=True)
    if corpus:
        told = [[one.check, f"{one.distance:.3g}", f"{one.usual:.3g}", f"{one.score:.2f}"] for one in corpus]
        console.print(
            table(["check", "distance", "usual", "score (1 alarms)"], told, "the documents since they were pinned")
        )
