"""`list` and `show`: the versions that MLflow has, and the gate's verdicts."""

from __future__ import annotations

import json as json_format
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlflow_project.commands.arguments import Text, read_name, read_reference, version_of
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.domain.reference import Reference

if TYPE_CHECKING:
    from rich.console import Console

    from mlflow_project.promotion.inventory import Version


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("list")(list_versions)
    app.command()(show)


@reports_errors
def list_versions(
    name: Annotated[
        Text | None, typer.Argument(metavar="NAME", parser=read_name, help="Only this prompt or model.")
    ] = None,
    json: Json = False,
) -> None:
    """List prompts and models with their versions, aliases and verdicts."""
    from mlflow_project.promotion.inventory import every_version

    with command_parts() as parts:
        rows = every_version(parts, name)
    emit([row.to_dict() for row in rows], json, lambda console: _show_rows(console, rows))


@reports_errors
def show(
    named: Annotated[
        Reference,
        typer.Argument(metavar="NAME/N", parser=read_reference, help="A version, as in qa/2 or qa@Production."),
    ],
    json: Json = False,
) -> None:
    """Show one version: its content, its verdict, its seal.

    A name alone lists the versions of that name.
    """
    from mlflow_project.promotion.inventory import every_version, one_version

    with command_parts() as parts:
        if named.version is None and named.alias is None:
            rows = every_version(parts, named.name)
            emit([row.to_dict() for row in rows], json, lambda console: _show_rows(console, rows))
            return
        found = one_version(parts, named.name, version_of(named, None, parts.registry))
    emit(found, json, lambda console: _show_one(console, found))


def _show_rows(console: Console, rows: list[Version]) -> None:
    lines = [
        (
            f"{row.name}/{row.version}",
            row.kind,
            row.sealed,
            _aliases(row.aliases, row.live),
            row.verdict,
            row.decided_at,
            (row.digest or "unreadable")[:19],
        )
        for row in rows
    ]
    columns = ("version", "kind", "sealed", "aliases", "verdict", "decided", "digest")
    console.print(
        table(columns, lines) if lines else "Nothing is registered yet: `switchyard new NAME` begins a prompt."
    )


def _aliases(pointing: tuple[str, ...], live: tuple[str, ...]) -> str:
    """The aliases that name a version, and those under which it is live although they were moved by hand."""
    moved = [f"{alias} (live, but the alias was moved by hand)" for alias in live if alias not in pointing]
    return ", ".join([*pointing, *moved])


def _show_one(console: Console, found: dict[str, Any]) -> None:
    label, seal, refusal = f"{found['name']}/{found['version']}", found["seal"], found["refusal"]
    lines = [
        f"{label}, a {found['kind']}",
        f"  content   {found['digest'] or 'cannot be read: `switchyard verify` says why'}",
        f"  aliases   {_aliases(found['aliases'], found['live']) or 'none'}",
        f"  sealed    {_sealed(found['sealed'], seal)}",
    ]
    if seal is not None and "runs" in seal:
        against = f"{found['name']}/{seal['champion']}" if seal["champion"] else "no other version"
        lines.append(
            f"  measured  on {seal['cases']['count']} cases against {against}, MLflow run {seal['runs']['candidate']}"
        )
    if refusal is not None:
        lines.append(f"  refused   {refusal['time']}, ledger record {refusal['record']}: {refusal['why']}")
    if found["approved_by"]:
        lines.append(f"  approved  by {', '.join(found['approved_by'])}")
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    _show_content(console, found["manifest"] or {})


def _sealed(sealed: str, seal: dict[str, Any] | None) -> str:
    if seal is None:
        return "no"
    if "broken" in seal:
        return f"no longer: {seal['broken']}"
    when = f"{seal['time']} by {seal['by']}, ledger record {seal['record']}"
    return when if sealed == "yes" else f"{when}; MLflow holds other content now, so it is not served"


def _show_content(console: Console, manifest: dict[str, Any]) -> None:
    for field, value in manifest.items():
        if field not in ("schema", "kind", "name", "template"):
            text = value if isinstance(value, str) else json_format.dumps(value, ensure_ascii=False)
            console.print(f"  {field}: {text}", markup=False, soft_wrap=True)
    for message in manifest.get("template", ()):
        console.print(f"\n# {message['role']}\n\n{message['content']}", markup=False, soft_wrap=True)
