"""`live`, `promote`, `rollback`, `approve`, `diff`, `repair` and `reconcile`.

Each command parses its arguments, makes one call to `mlflow_project.promotion`, and shows the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlflow_project.commands.arguments import (
    Alias,
    DespiteRetraction,
    Name,
    Named,
    Reason,
    Text,
    Version,
    read_reference,
    read_version,
    two_versions,
    version_of,
)
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.domain.reference import Reference

if TYPE_CHECKING:
    from rich.console import Console

    from mlflow_project.promotion.flip import Flip
    from mlflow_project.promotion.views import LiveRow


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (live, promote, rollback, approve, diff, repair, reconcile):
        app.command()(command)


@reports_errors
def promote(
    named: Named,
    to: Alias,
    version: Version = None,
    reason: Reason = "",
    despite_rollback: Annotated[
        str, typer.Option(metavar="REASON", help="Why a release that was rolled back may be live again.")
    ] = "",
    despite_retraction: DespiteRetraction = "",
    json: Json = False,
) -> None:
    """Move an alias to a sealed version.

    Waits until every server worker has confirmed that it serves the version.
    """
    from mlflow_project.promotion import promote as promotion

    with command_parts() as parts:
        number = version_of(named, version, parts.registry)
        flip = promotion.promote(
            parts, named.name, number, to, parts.who, reason, despite_rollback, despite_retraction=despite_retraction
        )
    _show_flip(flip, json)


@reports_errors
def rollback(
    named: Annotated[
        Reference,
        typer.Argument(
            metavar="NAME", parser=read_reference, help="What to roll back: qa, or qa/1 to go back to qa/1."
        ),
    ],
    to: Annotated[
        int | None,
        typer.Option(metavar="N", parser=read_version, help="Go back to this version. Default: the one before."),
    ] = None,
    reason: Reason = "",
    despite_retraction: DespiteRetraction = "",
    json: Json = False,
) -> None:
    """Go back to the last other version that was live in Production."""
    from mlflow_project.promotion import promote as promotion

    with command_parts() as parts:
        if named.version is not None or named.alias is not None:
            to = version_of(named, to, parts.registry)
        flip = promotion.rollback(parts, named.name, parts.who, reason, to, despite_retraction=despite_retraction)
    _show_flip(flip, json)


@reports_errors
def approve(named: Named, version: Version = None, reason: Reason = "", json: Json = False) -> None:
    """Approve a version of a protected prompt, as a second person."""
    from mlflow_project.promotion.approve import approve as approve_version

    with command_parts() as parts:
        number = version_of(named, version, parts.registry)
        record = approve_version(parts, named.name, number, parts.who, reason)
    message = f"{parts.who} approved {named.name}/{number} ({record.digest}), ledger record {record.serial}."
    emit(record.to_dict(), json, lambda console: console.print(message, soft_wrap=True))


@reports_errors
def diff(
    name: Annotated[
        Reference, typer.Argument(metavar="NAME", parser=read_reference, help="The name, or the first version: qa/1.")
    ],
    before: Annotated[Text, typer.Argument(metavar="A", parser=str, help="A version: 1, qa/1 or qa@Production.")],
    after: Annotated[
        Text | None, typer.Argument(metavar="B", parser=str, help="The other version, unless NAME is the first one.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what differs between two versions in MLflow."""
    from mlflow_project.promotion.approve import diff as diff_versions

    named = two_versions(name, before, after)
    with command_parts() as parts:
        left, right = (version_of(each, None, parts.registry) for each in named)
        found = diff_versions(parts, name.name, left, right)
    data = [{"field": field, "before": old, "after": new} for field, old, new in found]
    columns = ("field", f"{name.name}/{left}", f"{name.name}/{right}")
    emit(data, json, lambda console: console.print(table(columns, found) if found else "Nothing differs."))


@reports_errors
def repair(json: Json = False) -> None:
    """Finish or undo a promotion that crashed half-way."""
    from mlflow_project.promotion.repair import repair as repair_all

    with command_parts() as parts:
        done = repair_all(parts, parts.who)
    rows = [(item.name, item.alias, item.version, item.intent, item.outcome) for item in done]
    columns = ("name", "alias", "version", "intent", "outcome")
    emit(
        [item.to_dict() for item in done],
        json,
        lambda console: console.print(table(columns, rows) if rows else "Nothing to repair."),
    )


@reports_errors
def reconcile(name: Name, json: Json = False) -> None:
    """Put aliases that were moved by hand back.

    Each alias points again at the version that the ledger has live. Servers change nothing: they never followed.
    """
    from mlflow_project.promotion.reconcile import reconcile as reconcile_name

    with command_parts() as parts:
        done = reconcile_name(parts, name, parts.who)
    rows = [(item.alias, item.found, item.now, "followed" if item.followed else "put back") for item in done]
    columns = ("alias", "pointed at", "points at", "")
    emit(
        [item.to_dict() for item in done],
        json,
        lambda console: console.print(
            table(columns, rows) if rows else f"Every alias of {name} points at its recorded version."
        ),
    )


@reports_errors
def live(json: Json = False) -> None:
    """Show what is live, since when, by whom, on how many workers, and what the guard says of it."""
    from mlflow_project.guard.words import present_words
    from mlflow_project.promotion.views import live as live_rows

    with command_parts() as parts:
        rows, said = live_rows(parts), present_words(parts)
    judged = [_judged(row, said) for row in rows]
    data = [{**row.to_dict(), "guard": word} for row, word in zip(rows, judged, strict=True)]
    emit(data, json, lambda console: _show_live(console, rows, [word for word in judged if word is not None]))


def _judged(row: LiveRow, said: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """What the guard says of the release in this row; None: it does not watch it."""
    word = said.get(row.name)
    watched = "Canary" if word is not None and word["watches"].startswith("rollout:") else "Production"
    return word if row.alias == watched else None


def _show_live(console: Console, rows: list[LiveRow], said: list[dict[str, Any]]) -> None:
    from mlflow_project.guard.words import lines as guard_lines

    lines = [
        (row.name, row.alias, row.version, row.since, row.who, row.how, f"{row.serving}/{row.workers}", row.digest[:19])
        for row in rows
    ]
    columns = ("name", "alias", "version", "since", "by", "how", "workers", "digest")
    console.print(table(columns, lines) if lines else "Nothing is live yet: register, evaluate, gate, promote.")
    for word in said:
        console.print("\n".join([f"{word['release']}:", *guard_lines(word)]), markup=False, soft_wrap=True)


def _show_flip(flip: Flip, json: bool) -> None:
    from mlflow_project.promotion.report import flip_lines

    emit(flip.to_dict(), json, lambda console: console.print("\n".join(flip_lines(flip)), markup=False, soft_wrap=True))
