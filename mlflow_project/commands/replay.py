"""`switchyard replay`: asks a version the recorded questions of live traffic before anybody promotes it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mlflow_project.commands.arguments import Named, Version, version_of, whole_number
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.drift import length_of
from mlflow_project.commands.evaluation import Against, AtOnce, Budget, policy_file
from mlflow_project.commands.gate import PolicyFile
from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.commands.progress import Steps
from mlflow_project.errors import NotFound, Refused

if TYPE_CHECKING:
    from mlflow_project.evaluation.replay import Replay

Window = Annotated[str, typer.Option(metavar="LENGTH", help="How far back: 90m, 24h, 7d.")]
Questions = Annotated[
    int | None,
    typer.Option("--n", metavar="N", parser=whole_number(2), help="How many questions. Default: the policy's, or 500."),
]
IfDemanded = Annotated[
    bool, typer.Option("--if-demanded", help="Do nothing unless the policy asks for a replay and a version is live.")
]

DEFAULT_QUESTIONS = 500


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reports_errors(replay))


def replay(
    named: Named,
    version: Version = None,
    window: Window = "24h",
    n: Questions = None,
    against: Against = "Production",
    policy: PolicyFile = None,
    at_once: AtOnce = 16,
    budget: Budget = None,
    if_demanded: IfDemanded = False,
    json: Json = False,
) -> None:
    """Ask a version the recorded questions of live traffic, before anybody promotes it.

    Chooses masked questions of the window: whole sessions where there are some, in proportion to time and route. Asks
    the live version the same questions anew, and judges the pairs. The exit code is 4 if the verdict is not accepted.
    """
    from mlflow_project.evaluation.asking import Plan, Purse
    from mlflow_project.evaluation.policies import load_policy
    from mlflow_project.evaluation.replay import bench_for
    from mlflow_project.evaluation.replay import replay as replay_questions
    from mlflow_project.evaluation.workplace import workplace

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end like Ctrl-C when a task is stopped
    length, steps = length_of(window), Steps()
    with command_parts() as parts:
        place = workplace(parts, against)
        candidate = place.release(named.name, version_of(named, version, parts.registry))
        file = policy or policy_file(candidate)
        rules = load_policy(file) if policy is not None or file.exists() else None
        demanded = rules.replay if rules is not None else None
        champion = place.champion_of(candidate)
        if if_demanded and (demanded is None or champion is None):
            why = "The policy asks for no replay." if demanded is None else f"Nothing is live under {against}."
            emit({"demanded": False, "reason": why}, json, lambda console: console.print(why))
            return
        if champion is None:
            raise NotFound(
                f"No other version of {candidate.name} is live under {against}, so there is nothing to compare "
                f"{candidate.label} with."
            )
        asked_for = n or (demanded.n if demanded is not None else DEFAULT_QUESTIONS)
        bench = bench_for(place, Plan(at_once, purse=Purse(budget)), steps.step)
        done = replay_questions(place, candidate, champion, rules, length, asked_for, bench)
        runs = [parts.experiments.get(scores.run or "") for scores in (done.candidate, done.champion)]
        comparison, page = parts.experiments.comparison(runs), parts.experiments.address(runs[0])
        steps.report()
    versions = {"name": candidate.name, "version": candidate.version, "champion": champion.version}
    pages = {"comparison": comparison, "page": page}
    data = {"demanded": demanded is not None, **versions, **_outcome(done), **pages}
    emit(data, json, lambda console: _show(console, done, comparison, page))
    if not done.verdict.accepted:
        raise typer.Exit(Refused.exit_code)


def _outcome(done: Replay) -> dict[str, Any]:
    """The verdict of a replay and its numbers, JSON-ready."""
    numbers = {name: done.data[name] for name in ("questions", "found", "left_out", "agreement")}
    units = len(set(done.data["units"]))
    return {**done.verdict.to_dict(), **numbers, "units": units, "run": done.run, "replay_digest": done.digest}


def _show(console: Console, done: Replay, comparison: str, page: str) -> None:
    from mlflow_project.evaluation.record import means
    from mlflow_project.rules.gate.reasons import number, percent

    ours, theirs = means(done.candidate), means(done.champion)
    rows = [[name, number(ours[name]), number(theirs[name]) if name in theirs else "-"] for name in ours]
    data, verdict = done.data, done.verdict
    title = f"{data['questions']} of {data['found']} live questions"
    console.print(table(["metric (mean)", done.candidate.label, done.champion.label], rows, title))
    style = "bold green" if verdict.accepted else "bold red"
    units = len(set(data["units"]))
    console.print(f"{done.candidate.label} {verdict.outcome} on {units} sessions and single requests", style=style)
    for reason in verdict.reasons:
        console.print(f"  - {reason}", markup=False)
    if verdict.spending is not None and verdict.spending.number > 1:
        console.print(
            f"This is replay {verdict.spending.number} of these releases or of mostly these questions: its tests had "
            f"{percent(verdict.spending.confidence)} confidence. Each further one has less of the allowed error.",
            soft_wrap=True,
        )
    if data["agreement"] is not None:
        console.print(f"The answers of both agree by {data['agreement']:.0%} (F1 of their words).")
    console.print(f"In MLflow: {comparison}", soft_wrap=True)
    console.print(f"The worst pairs (worst_pairs.json): {page}", soft_wrap=True)
