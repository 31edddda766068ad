"""`switchyard review` and `switchyard cases from-feedback`: people judge live answers, and judgements become cases."""

from __future__ import annotations

import json as jsonlib
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlflow_project.commands.arguments import amount, whole_number
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.output import Json, emit, reports_errors
from mlflow_project.errors import InvalidData, NotFound

if TYPE_CHECKING:
    from mlflow_project.adapters.object_store import ObjectStore

Collect = Annotated[bool, typer.Option(help="Update the tables of live traffic first.")]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(reports_errors(review))
    cases = typer.Typer(name="cases", help="Make evaluation cases from live traffic.", no_args_is_help=True)
    cases.callback()(_cases)
    cases.command("from-feedback")(reports_errors(from_feedback))
    app.add_typer(cases)


def review(
    n: Annotated[int, typer.Option("--n", metavar="N", parser=whole_number(1), help="How many answers.")] = 50,
    strategy: Annotated[
        str, typer.Option(metavar="NAME", help="Which answers: random, low-groundedness or disagreement.")
    ] = "random",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write. Default: in the state folder.")
    ] = None,
    judged: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read the judgements in this file. Write no new sample.")
    ] = None,
    collect: Collect = True,
    json: Json = False,
) -> None:
    """Write a sample of live answers for a person to judge.

    Personal data and secrets in the sample are masked. `--judged FILE` reads the judgements back.
    """
    from mlflow_project.feedback import live
    from mlflow_project.feedback.review import STRATEGIES, sample, write_sample

    if judged is not None:
        _hand_in(judged, json)
        return
    if strategy not in STRATEGIES:
        raise InvalidData(f"{strategy!r} is not a strategy. Choose one of {', '.join(STRATEGIES)}.")
    with command_parts() as parts:
        store = _updated(parts.store, collect)
        rows = sample(live.every_answer(store.settings), live.feedback(store.settings), n, strategy)
    if not rows:
        raise NotFound(
            f"No answer is left to review with the strategy {strategy}. Ask something first, or choose another."
        )
    path = out or _folder() / f"review-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    write_sample(rows, path)
    next_step = f"Fill in judgement (good or bad), then `switchyard review --judged {path}`."
    emit(
        {"file": str(path), "answers": len(rows), "strategy": strategy},
        json,
        lambda console: console.print(f"{len(rows)} answers in {path}. {next_step}", soft_wrap=True),
    )


def from_feedback(
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to write. Default: in the state folder.")
    ] = None,
    good: Annotated[
        float, typer.Option(metavar="SCORE", parser=amount, help="An answer with at least this score counts as right.")
    ] = 0.5,
    collect: Collect = True,
    json: Json = False,
) -> None:
    """Write evaluation cases from judged answers: one case per question, one file per prompt."""
    from mlflow_project.feedback import live

    with command_parts() as parts:
        store = _updated(parts.store, collect)
        judged: dict[str, list[Any]] = defaultdict(list)
        for row in live.feedback(store.settings):
            judged[row["name"]].append(row)
        folder = out or _folder()
        found = {name: _write_cases(store, name, rows, good, folder) for name, rows in sorted(judged.items())}
    written = {name: file for name, file in found.items() if file is not None}
    if not written:
        raise NotFound(
            "No judgement makes a new case. Either none corrects or approves an answer, or all are cases already."
        )
    lines = [f"{one['cases']} cases of {name} in {one['file']}" for name, one in written.items()]
    emit(written, json, lambda console: console.print("\n".join(lines), markup=False, soft_wrap=True))


def _write_cases(
    store: ObjectStore, name: str, judged: Sequence[Any], good: float, folder: Path
) -> dict[str, Any] | None:
    """Write the new cases of one prompt. Returns file and number; None: its judgements make no new case."""
    from mlflow_project.evaluation.cases import load_cases
    from mlflow_project.feedback import live
    from mlflow_project.feedback.cases import cases_from_feedback

    file = Path("prompts") / name / "cases.jsonl"
    known = [case.question for case in load_cases(file)] if file.exists() else []
    cases = cases_from_feedback(live.answers(store.settings, name), judged, known, good)
    if not cases:
        return None
    path = folder / f"{name}-from-feedback.jsonl"
    _write(path, cases)
    return {"file": str(path), "cases": len(cases)}


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(jsonlib.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    except OSError as error:
        raise InvalidData(f"{path} cannot be written: {error}") from error


def _cases() -> None:
    """Make evaluation cases from live traffic."""


def _hand_in(path: Path, json: bool) -> None:
    from mlflow_project.feedback.live import known_answers
    from mlflow_project.feedback.review import check_known, hand_in, read_judgements

    with command_parts() as parts:
        events = read_judgements(path, parts.who, parts.masker)
        if not events:
            raise InvalidData(f"{path} has no judgements yet. Fill in `judgement` with good or bad.")
        check_known(events, known_answers(parts.store.settings))
        new = hand_in(parts.store, events)
    message = f"Judgements recorded: {len(events)}{'' if new else ', all of them before'}."
    emit({"judgements": len(events), "new": new}, json, lambda console: console.print(message))


def _updated(store: ObjectStore, collect: bool) -> ObjectStore:
    """The store, after new events of live traffic were added to its tables if `collect` asks for it."""
    from mlflow_project.commands.collecting import collect as collect_events

    if collect:
        collect_events(store)
    return store


def _folder() -> Path:
    from mlflow_project.settings import state_folder

    return state_folder() / "feedback"
