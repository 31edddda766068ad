"""The commands `promote`, `rollback`, `repair`, `reconcile`, `approve`, `diff` and `live`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.commands.versions import version_option

if TYPE_CHECKING:
    from rich.console import Console

    from mlflow_project.promotion.flip import Flip
    from mlflow_project.promotion.parts import Parts
    from mlflow_project.promotion.standing import LiveRow

Name = Annotated[str, typer.Argument(help="The prompt or model, such as qa.")]
Version = Annotated[int, typer.Option(parser=version_option, metavar="N", help="The version's number.")]
Reason = Annotated[str, typer.Option(help="Why. The reason becomes part of the ledger's record.")]


def add_to(app: typer.Typer) -> None:
    """Add this room's commands."""
    for command in (live, promote, rollback, approve, diff, repair, reconcile):
        app.command()(command)


@reports_errors
def promote(
    name: Name,
    version: Version,
    to: Annotated[str, typer.Option(help="Staging or Production.")],
    reason: Reason = "",
    despite_rollback: Annotated[
        str, typer.Option(metavar="REASON", help="Why a release that was rolled back may be live again.")
    ] = "",
    json: Json = False,
) -> None:
    """Point an alias at a sealed version; ends when every live worker serves it."""
    from mlflow_project.promotion import promote as promotion

    parts, who = _parts()
    _show_flip(promotion.promote(parts, name, version, to, who, reason, despite_rollback), json)


@reports_errors
def rollback(
    name: Name,
    to: Annotated[
        int | None, typer.Option(parser=version_option, metavar="N", help="To this version, which was live before.")
    ] = None,
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Go back to the last other version that was live in Production."""
    from mlflow_project.promotion import promote as promotion

    parts, who = _parts()
    _show_flip(promotion.rollback(parts, name, who, reason, to), json)


@reports_errors
def approve(name: Name, version: Version, reason: Reason = "", json: Json = False) -> None:
    """A second person's word on a version of a protected prompt."""
    from mlflow_project.promotion.approve import approve as approve_version

    parts, who = _parts()
    record = approve_version(parts, name, version, who, reason)
    said = f"{name}/{version} ({record.digest}) is approved by {who}: record {record.serial}."
    emit(record.to_dict(), json, lambda console: console.print(said, soft_wrap=True))


@reports_errors
def diff(
    name: Name,
    before: Annotated[int, typer.Argument(parser=version_option, metavar="A", help="The one version.")],
    after: Annotated[int, typer.Argument(parser=version_option, metavar="B", help="The other version.")],
    json: Json = False,
) -> None:
    """What differs between two versions, as MLflow holds them now."""
    from mlflow_project.promotion.approve import diff as diff_versions

    found = diff_versions(_parts()[0], name, before, after)
    data = [{"field": field, "before": left, "after": right} for field, left, right in found]
    columns = ("field", f"{name}/{before}", f"{name}/{after}")
    emit(data, json, lambda console: console.print(table(columns, found) if found else "Nothing differs."))


@reports_errors
def repair(json: Json = False) -> None:
    """Finish or undo what a crash left open."""
    from mlflow_project.promotion.repair import repair as repair_all

    parts, who = _parts()
    done = repair_all(parts, who)
    rows = [(item.name, item.alias, item.version, item.intent, item.outcome) for item in done]
    columns = ("name", "alias", "version", "intent", "outcome")
    emit(
        [item.to_dict() for item in done],
        json,
        lambda console: console.print(table(columns, rows) if rows else "Nothing was left open."),
    )


@reports_errors
def reconcile(name: Name, json: Json = False) -> None:
    """Put a name's aliases back to where the record has them."""
    from mlflow_project.promotion.reconcile import reconcile as reconcile_name

    parts, who = _parts()
    done = reconcile_name(parts, name, who)
    rows = [(item.alias, item.found, item.now, "followed" if item.followed else "put back") for item in done]
    columns = ("alias", "pointed at", "points at", "")
    emit(
        [item.to_dict() for item in done],
        json,
        lambda console: console.print(table(columns, rows) if rows else f"Every alias of {name} is as recorded."),
    )


@reports_errors
def live(json: Json = False) -> None:
    """What is live, since when, by whom, on which workers."""
    from mlflow_project.promotion.standing import live as live_rows

    rows = live_rows(_parts()[0])
    emit([row.to_dict() for row in rows], json, lambda console: _show_live(console, rows))


def _parts() -> tuple[Parts, str]:
    from mlflow_project.identity import current_identity
    from mlflow_project.promotion.parts import Parts
    from mlflow_project.settings import ClientSettings, load

    return Parts.connect(), current_identity(load(ClientSettings))


def _show_live(console: Console, rows: list[LiveRow]) -> None:
    lines = [
        (row.name, row.alias, row.version, row.since, row.who, row.how, f"{row.serving}/{row.workers}", row.digest[:19])
        for row in rows
    ]
    columns = ("name", "alias", "version", "since", "by", "how", "workers", "digest")
    console.print(table(columns, lines) if lines else "Nothing is live yet: register, evaluate, gate, promote.")


def _show_flip(flip: Flip, json: bool) -> None:
    emit(flip.to_dict(), json, lambda console: console.print("\n".join(_told(flip)), markup=False, soft_wrap=True))


def _told(flip: Flip) -> list[str]:
    if not flip.moved:
        return [f"{flip.name}/{flip.version} is live in {flip.alias} already; nothing was moved."]
    was = f" (was {flip.name}/{flip.from_version})" if flip.from_version else ""
    lines = [f"{flip.alias} of {flip.name} -> {flip.name}/{flip.version}{was}, record {flip.serial} of the ledger"]
    receipts, slowest = flip.receipts, flip.receipts.slowest
    if not receipts.workers:
        return [*lines, "No server has announced itself, so there is no receipt to wait for."]
    tail = f"; slowest {slowest[0]}, {slowest[1]:.0f} ms after the alias was set" if slowest else ""
    lines.append(f"receipts: {len(receipts.milliseconds)}/{len(receipts.workers)}{tail}")
    if receipts.missing:
        lines.append(f"no receipt in time from: {', '.join(receipts.missing)}")
    if receipts.died:
        lines.append(f"died meanwhile, not awaited: {', '.join(receipts.died)}")
    return lines
