"""`rollout start`, `status`, `step`, `hold`, `resume`, `abort` and `finish`: move traffic to a version in steps.

Each command parses its arguments, makes one call to `mlflow_project.rollouts`, and shows the result.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_project.commands.arguments import DespiteRetraction, Name, Named, Reason, Version, version_of
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.output import Json, emit, reports_errors
from mlflow_project.domain.rollout import USUAL_STEPS

if TYPE_CHECKING:
    from rich.console import Console

    from mlflow_project.rollouts.changes import Change


Shares = Annotated[
    str | None,
    typer.Option(metavar="SHARES", help=f"Rising shares of the traffic. Default: the policy's, or {USUAL_STEPS}."),
]
Every = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="The guard takes a step after this time, as in 10m. Default: by hand."),
]
Unit = Annotated[
    str | None, typer.Option(metavar="UNIT", help="What stays on one release: session, user, key or request.")
]
GuardPolicy = Annotated[
    Path | None,
    typer.Option(
        metavar="POLICY", help="The file with the guard's policy. Default: policy.yaml in prompts/NAME or models/NAME."
    ),
]
Smoke = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Questions that the version must answer first: cases, or request bodies for a model. Default: "
        "prompts/NAME/cases.jsonl.",
    ),
]
DespiteRollback = Annotated[
    str, typer.Option(metavar="REASON", help="Why a release that was rolled back may be live again.")
]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    rollout = typer.Typer(help="Move traffic to a version in steps.", no_args_is_help=True)
    rollout.callback()(_rollout)
    for command in (start, status, step, hold, resume, abort, finish):
        rollout.command()(command)
    app.add_typer(rollout, name="rollout")


@reports_errors
def start(
    named: Named,
    version: Version = None,
    steps: Shares = None,
    every: Every = None,
    unit: Unit = None,
    guard: GuardPolicy = None,
    smoke: Smoke = None,
    reason: Reason = "",
    despite_rollback: DespiteRollback = "",
    despite_retraction: DespiteRetraction = "",
    json: Json = False,
) -> None:
    """Open a rollout of a sealed version, and take its first step.

    Before that step, every worker loads the version, and the server answers up to five questions with it. With
    `--steps 100%` all traffic moves at once after these checks.
    """
    from mlflow_project.rollouts.planning import plan_for, usual_questions
    from mlflow_project.rollouts.smoke import bodies_from
    from mlflow_project.rollouts.start import start as start_rollout

    plan = plan_for(named.name, guard, steps, every, unit)
    questions = smoke or usual_questions(named.name)
    with command_parts() as parts:
        number = version_of(named, version, parts.registry)
        kind = parts.ledger.state().of(named.name).kind
        bodies = bodies_from(questions, kind) if questions is not None else ()
        despite = {"despite_rollback": despite_rollback, "despite_retraction": despite_retraction}
        change = start_rollout(parts, named.name, number, plan, parts.who, reason, smoke=bodies, **despite)
    _show_change(change, json)


@reports_errors
def status(name: Name, json: Json = False) -> None:
    """Show the rollout of a name: its share, its next step, the workers that follow it, and what the guard says."""
    from mlflow_project.guard.words import lines as guard_lines
    from mlflow_project.guard.words import present_words
    from mlflow_project.rollouts.report import status_lines
    from mlflow_project.rollouts.status import status as status_of

    with command_parts() as parts:
        found = {**status_of(parts, name), "guard": present_words(parts).get(name)}
    guard = guard_lines(found["guard"]) if found["guard"] is not None else []
    emit(found, json, lambda console: _print(console, status_lines(found, guard)))


@reports_errors
def step(name: Name, reason: Reason = "", json: Json = False) -> None:
    """Take the next step now. The step to 100 % is the ordinary promotion."""
    _change("step", name, reason, json)


@reports_errors
def hold(name: Name, reason: Reason = "", json: Json = False) -> None:
    """Take no further step until somebody resumes. The share stays as it is."""
    _change("hold", name, reason, json)


@reports_errors
def resume(name: Name, reason: Reason = "", json: Json = False) -> None:
    """Go on after a hold. The time of the present step begins anew."""
    _change("resume", name, reason, json)


@reports_errors
def abort(name: Name, reason: Reason = "", json: Json = False) -> None:
    """End a rollout: all traffic goes to the old release again."""
    _change("abort", name, reason, json)


@reports_errors
def finish(name: Name, reason: Reason = "", json: Json = False) -> None:
    """Promote the version to Production now, without the steps that are left."""
    _change("finish", name, reason, json)


def _rollout() -> None:
    """Move traffic to a version in steps."""


def _change(how: str, name: str, reason: str, json: bool) -> None:
    from mlflow_project.rollouts import changes

    made = {each.__name__: each for each in (changes.step, changes.hold, changes.resume, changes.abort, changes.finish)}
    with command_parts() as parts:
        change = made[how](parts, name, changes.Order(parts.who, reason))
    _show_change(change, json)


def _show_change(change: Change, json: bool) -> None:
    from mlflow_project.rollouts.report import change_lines

    emit(change.to_dict(), json, lambda console: _print(console, change_lines(change)))


def _print(console: Console, lines: list[str]) -> None:
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
