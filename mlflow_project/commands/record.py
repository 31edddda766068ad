"""`history`, `at`, `verify` and `ledger verify`: read the ledger, and check releases against it."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlflow_project.commands.arguments import Text, read_digest, read_reference, whole_number
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.domain.reference import Reference
from mlflow_project.errors import Refused

if TYPE_CHECKING:
    from rich.console import Console

    from mlflow_project.domain.record import LedgerRecord
    from mlflow_project.ledger.audit import Audit
    from mlflow_project.promotion.audit import Finding


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (history, at, verify):
        app.command()(command)
    ledger = typer.Typer(help="Check the ledger itself.", no_args_is_help=True)
    ledger.callback()(_ledger)
    ledger.command("verify")(verify_ledger)
    ledger.command("extend")(extend_ledger)
    app.add_typer(ledger, name="ledger")


@reports_errors
def history(
    named: Annotated[
        Reference,
        typer.Argument(metavar="NAME", parser=read_reference, help="qa, or only records about qa/2 or qa@Production."),
    ],
    why: Annotated[bool, typer.Option("--why", help="Also print reasons, digests and evidence.")] = False,
    json: Json = False,
) -> None:
    """List the ledger's records about a name, oldest first."""
    from mlflow_project.promotion.views import history as history_of

    with command_parts() as parts:
        records = history_of(parts, named.name)
    if named.alias is not None:
        records = [record for record in records if record.alias == named.alias]
    if named.version is not None:
        records = [record for record in records if named.version in (record.version, record.from_version)]
    emit([record.to_dict() for record in records], json, lambda console: _show_history(console, records, why))


@reports_errors
def at(
    time: Annotated[
        Text, typer.Argument(metavar="TIME", parser=str, help="In ISO 8601, for example 2026-11-30T14:03:07Z.")
    ],
    json: Json = False,
) -> None:
    """Show what was live at a point in time, and on what evidence."""
    from mlflow_project.promotion.views import at as live_at

    with command_parts() as parts:
        rows = live_at(parts, time)
    emit(rows, json, lambda console: _show_then(console, rows))


@reports_errors
def verify(
    what: Annotated[
        Reference | None,
        typer.Argument(
            metavar="NAME", parser=read_reference, help="qa, qa@Staging or qa/2. Default: all that is live."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check that what is live is exactly what was sealed.

    Recomputes alias, seal, scores, manifest, content in MLflow, and search index. Exit code 4 if anything differs.
    """
    from mlflow_project.promotion import audit

    with command_parts() as parts:
        findings = audit.verify_all(parts) if what is None else audit.verify(parts, what.name, what.alias, what.version)
    emit([finding.to_dict() for finding in findings], json, lambda console: _show_findings(console, findings))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(Refused.exit_code)


@reports_errors
def verify_ledger(
    head: Annotated[
        list[str] | None,
        typer.Option(metavar="sha256:...", parser=read_digest, help="A record's digest that the ledger must contain."),
    ] = None,
    json: Json = False,
) -> None:
    """Read every record of the ledger and report what was tampered with.

    Checks the chain, every version of every record, its object lock, the time that it says, and each seal's signature;
    and that the ledger contains the newest record that this host has seen. Exit code 4 if anything is wrong.
    """
    from mlflow_project.promotion.verify_ledger import verify_ledger as verify_all

    with command_parts() as parts:
        done = verify_all(parts, head or ())
    emit(done.to_dict(), json, lambda console: _show_audit(console, done))
    if done.findings:
        raise typer.Exit(Refused.exit_code)


@reports_errors
def extend_ledger(
    days: Annotated[
        int, typer.Option(metavar="DAYS", parser=whole_number(1), help="How long from now object lock keeps records.")
    ] = 365,
    json: Json = False,
) -> None:
    """Have object lock keep every record of the ledger for longer. Needs the store's administrator."""
    from mlflow_project.ledger.audit import extend

    with command_parts() as parts:
        records = extend(parts.store, days)
    data = {"records": records, "days": days}
    emit(
        data, json, lambda console: console.print(f"Object lock keeps all {records} records for {days} days from now.")
    )


def _ledger() -> None:
    """Check the ledger itself."""


def _show_history(console: Console, records: list[LedgerRecord], why: bool) -> None:
    for each in records:
        was = f" (was {each.from_version})" if each.from_version else ""
        version = f"{each.name}/{each.version}{was}" if each.version else each.name
        line = (
            f"{each.serial:>5}  {each.time[:19]}Z  {each.type:<18}  {each.alias or '-':<10}  {version}  by {each.who}"
        )
        console.print(line, markup=False, soft_wrap=True)
        if why:
            for name, value in _rest(each):
                console.print(f"       {name}: {value}", markup=False, soft_wrap=True)


def _rest(record: LedgerRecord) -> Iterator[tuple[str, str]]:
    """The parts of a record that its line leaves out. Only `--json` shows signatures."""
    if record.why:
        yield "why", record.why
    if record.digest:
        yield "digest", record.digest
    if record.intent:
        yield "answers", f"record {record.intent}"
    for name, value in record.evidence.items():
        if name != "envelope":
            yield name, value if isinstance(value, str) else json_format.dumps(value, ensure_ascii=False)


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
        console.print(f"All {audit.records} records are whole, unchanged, protected and in order.")
        console.print(f"The newest is record {audit.head.serial}: {audit.head.digest}", soft_wrap=True)
        return
    rows = [(each.serial, each.problem, each.detail) for each in audit.findings]
    console.print(table(("record", "problem", "what"), rows, f"{audit.records} records, {len(rows)} problems"))
