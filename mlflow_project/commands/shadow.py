"""`switchyard shadow`: copies a share of the requests to another version, whose answers nobody sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mlflow_project.commands.arguments import Name, Named, Reason, Text, Version, amount, version_of, whole_number
from mlflow_project.commands.arguments import read_name as name_of
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.gate import PolicyFile
from mlflow_project.commands.output import Json, emit, progress, reports_errors, table
from mlflow_project.domain.rollout import percent
from mlflow_project.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow_project.domain.shadow import Shadow
    from mlflow_project.evaluation.shadow_report import ShadowReport
    from mlflow_project.parts import Parts
    from mlflow_project.promotion.shadow import ShadowStatus


def read_share(text: str | float) -> float:
    """Read a share: `10%` or `0.1`."""
    written = str(text).strip()
    try:
        share = float(written.removesuffix("%")) / (100 if written.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise typer.BadParameter(f"{text!r} is not a share: write a percentage above 0%, at most 100%, as in 10%.")
    return share


Share = Annotated[float, typer.Option(metavar="SHARE", parser=read_share, help="How many requests to copy, as in 10%.")]
Rate = Annotated[
    int, typer.Option(metavar="N", parser=whole_number(1), help="The most copies in a second, on each host.")
]
Budget = Annotated[
    float | None, typer.Option(metavar="USD", parser=amount, help="What its answers may cost in a day, on each host.")
]
Names = Annotated[
    Text | None, typer.Argument(metavar="[NAME]", parser=name_of, help="A prompt or model. Default: all shadows.")
]


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(
        name="shadow", help="Copy requests to another version, whose answers nobody sees.", no_args_is_help=True
    )
    for command in (start, stop, status, report):
        group.command()(reports_errors(command))
    app.add_typer(group)


def start(
    named: Named,
    version: Version = None,
    share: Share = 0.1,
    rate: Rate = 5,
    budget: Budget = None,
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Begin to copy a share of the requests for Production to a sealed version.

    A copy is sent after the caller has the answer. What the shadow answers is scored, compared and recorded, masked.
    """
    from mlflow_project.promotion.shadow import start as start_shadow

    with command_parts() as parts:
        number = version_of(named, version, parts.registry)
        record = start_shadow(parts, named.name, number, share, parts.who, reason, per_second=rate, usd=budget)
    data = {"name": named.name, "version": number, "digest": record.digest, "shadow": record.serial}
    said = (
        f"{named.name}/{number} gets copies of {percent(share)} of the requests for {named.name}, ledger record "
        f"{record.serial}. `switchyard shadow report {named.name}` compares the answers."
    )
    emit({**data, **record.evidence["limits"]}, json, lambda console: console.print(said, soft_wrap=True))


def stop(name: Name, reason: Reason = "", policy: PolicyFile = None, json: Json = False) -> None:
    """End a shadow, and compare what it has answered."""
    from mlflow_project.promotion.shadow import stop as stop_shadow

    with command_parts() as parts:
        ended, record = stop_shadow(parts, name, parts.who, reason)
        try:
            found = _report(parts, name, ended, policy)
        except NotFound as error:
            found = None
            progress.print(str(error), markup=False)
    data = {"name": name, "version": ended.version, "shadow": ended.id, "ledger": record.serial}
    said = f"{name}/{ended.version} gets no more copies, ledger record {record.serial}."

    def show(console: Console) -> None:
        console.print(said)
        if found is not None:
            _show_report(console, name, ended, found)

    emit({**data, "report": found.to_dict() if found is not None else None}, json, show)


def status(name: Names = None, json: Json = False) -> None:
    """Show which versions are shadows, since when, by whom, and how many workers have loaded them."""
    from mlflow_project.evaluation.shadow_report import shadow_pairs
    from mlflow_project.promotion.shadow import status as status_of

    with command_parts() as parts:
        found = status_of(parts, (name,) if name is not None else ())
        pairs = [len(shadow_pairs(parts.store, each.name, each.shadow)) for each in found]
    data = [_plain(each, count) for each, count in zip(found, pairs, strict=True)]
    columns = ["shadow", "share", "since", "by", "workers", "pairs"]
    rows = [
        [f"{each['name']}/{each['version']}", f"{each['share']:.3g}", each["since"], each["who"],
         f"{each['loaded']} of {each['workers']}", str(each["pairs"])]
        for each in data
    ]  # fmt: skip
    emit(data, json, lambda console: console.print(table(columns, rows) if rows else "There is no shadow."))


def report(name: Name, policy: PolicyFile = None, json: Json = False) -> None:
    """Compare what a shadow has answered so far with production, as an MLflow run."""
    from mlflow_project.promotion.shadow import shadow_of

    with command_parts() as parts:
        shadow = shadow_of(parts.ledger.state().of(name))
        found = _report(parts, name, shadow, policy)
    data = {"name": name, "version": shadow.version, "shadow": shadow.id, **found.to_dict()}
    emit(data, json, lambda console: _show_report(console, name, shadow, found))


def _report(parts: Parts, name: str, shadow: Shadow, policy: Path | None) -> ShadowReport:
    from pathlib import Path

    from mlflow_project.evaluation.policies import load_policy
    from mlflow_project.evaluation.shadow_report import report as write_report

    kind = parts.ledger.state().of(name).kind
    file = policy or Path(f"{kind}s") / name / "policy.yaml"
    rules = load_policy(file) if policy is not None or file.exists() else None
    user = parts.who.partition(":")[2]
    return write_report(parts.experiments, parts.store, name, shadow, rules, parts.masker, user)


def _plain(found: ShadowStatus, pairs: int) -> dict[str, Any]:
    shadow = found.shadow
    known = {"name": found.name, "version": shadow.version, "digest": shadow.digest, "shadow": shadow.id}
    known |= {**shadow.limits.to_dict(), "since": shadow.since, "who": shadow.who, "why": shadow.why}
    return {**known, "loaded": found.loaded, "workers": found.workers, "pairs": pairs}


def _show_report(console: Console, name: str, shadow: Shadow, found: ShadowReport) -> None:
    from mlflow_project.rules.gate.reasons import number

    ours, theirs = found.means["shadow"], found.means["production"]
    cells = [
        [metric, *(number(side[metric]) if metric in side else "-" for side in (ours, theirs))]
        for metric in sorted({*ours, *theirs})
    ]
    title = f"{found.pairs} pairs, {found.failed} without an answer of the shadow"
    console.print(table(["metric (mean)", f"{name}/{shadow.version}", "production"], cells, title))
    if found.agreement is not None:
        console.print(f"The answers of both agree by {found.agreement:.0%}.")
    console.print(f"The shadow's answers cost {found.cost_usd:.6f} USD.")
    console.print(f"On these pairs {name}/{shadow.version} would be {found.verdict.outcome}:")
    for reason in found.verdict.reasons:
        console.print(f"  - {reason}", markup=False)
    console.print(f"In MLflow, with the worst pairs: {found.address}", soft_wrap=True)
