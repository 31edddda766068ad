"""`history`, `at`, `verify`, `ledger verify`: the record, and its checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.errors import Refused

if TYPE_CHECKING:
    from rich.console import Console

    from mlflow_project.domain.record import LedgerRecord
    from mlflow_project.ledger.audit import Audit
    from mlflow_project.promotion.audit import Finding


def add_to(app: typer.Typer) -> None:
    """Add this room's commands."""
    for command in (history, at, verify):
        app.command()(command)
    ledger = typer.Typer(help="The ledger's own checks.", no_args_is_help=True)
    ledger.callback()(_ledger)
    ledger.command("verify")(verify_ledger)
    app.add_typer(ledger, name="ledger")


@reports_errors
def history(name: Annotated[str, typer.Argument(help="The prompt or model.")], json: Json = False) -> None:
    """Every record about a name, oldest first."""
    from mlflow_project.promotion.parts import Parts
    from mlflow_project.promotion.standing import history as history_of

    records = history_of(Parts.connect(), name)
    emit([record.to_dict() for record in records], json, lambda console: _show_history(console, records))


@reports_errors
def at(
    time: Annotated[str, typer.Argument(help="UTC in ISO 8601, such as 2026-11-23T14:03:07Z.")], json: Json = False
) -> None:
    """What was live for every name at a time, and the evidence."""
    from mlflow_project.promotion.parts import Parts
    from mlflow_project.promotion.standing import at as standing_at

    rows = standing_at(Parts.connect(), time)
    emit(rows, json, lambda console: _show_then(console, rows))


@reports_errors
def verify(
    what: Annotated[str | None, typer.Argument(metavar="[NAME[@ALIAS]]", help="Default: all that is live.")] = None,
    json: Json = False,
) -> None:
    """Recompute all that a live release rests on: alias, seal, manifest, content, index."""
    from mlflow_project.promotion import audit
    from mlflow_project.promotion.parts import Parts

    if what is None:
        findings = audit.verify_all(Parts.connect())
    else:
        name, _, alias = what.partition("@")
        findings = audit.verify(Parts.connect(), name, alias or None)
    emit([finding.to_dict() for finding in findings], json, lambda console: _show_findings(console, findings))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(Refused.exit_code)


@reports_errors
def verify_ledger(json: Json = False) -> None:
    """Read every record from the store and name what was tampered with."""
    from mlflow_project.adapters.object_store import ObjectStore
    from mlflow_project.ledger import audit
    from mlflow_project.settings import StoreSettings, load

    done = audit.verify(ObjectStore(load(StoreSettings)))
    data = {"records": done.records, "ok": not done.findings, "findings": [each.to_dict() for each in done.findings]}
    emit(data, json, lambda console: _show_audit(console, done))
    if done.findings:
        raise typer.Exit(Refused.exit_code)


def _ledger() -> None:
    """A group, even with one command."""


def _show_history(console: Console, records: list[LedgerRecord]) -> None:
    columns = ("record", "time", "what", "alias", "version", "was", "by", "why")
    rows = [
        (each.serial, each.time, each.type, each.alias, each.version, each.from_version, each.who, each.why)
        for each in records
    ]
    console.print(table(columns, rows))


def _show_then(console: Console, rows: list[dict[str, Any]]) -> None:
    columns = ("name", "alias", "version", "state", "since", "who")
    lines = [(*(row[key] for key in columns), row["evidence"]["record"]["serial"]) for row in rows]
    console.print(table((*columns, "record"), lines) if lines else "Nothing was live then.")


def _show_findings(console: Console, findings: list[Finding]) -> None:
    rows = [
        (f"{each.name}@{each.alias}", each.version, each.check, "ok" if each.ok else "WRONG", each.detail)
        for each in findings
    ]
    console.print(table(("release", "version", "check", "", "what"), rows) if rows else "Nothing is live.")


def _show_audit(console: Console, audit: Audit) -> None:
    if not audit.findings:
        console.print(f"All {audit.records} records are whole, unchanged and in order.")
        return
    rows = [(each.serial, each.problem, each.detail) for each in audit.findings]
    console.print(table(("record", "problem", "what"), rows, f"{audit.records} records, {len(rows)} problems"))
