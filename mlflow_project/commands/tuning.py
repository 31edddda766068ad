"""`tune`: look for better settings of a version's retrieval, and say in words what to change."""

from __future__ import annotations

import signal
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from mlflow_project.commands.arguments import Named, Version, version_of
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.evaluation import Cases
from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.commands.progress import Steps

if TYPE_CHECKING:
    from mlflow_project.evaluation.tuning.sweep import Sweep

_SHOWN = {
    "strict_hit_among_chunks": "found",
    "strict_hit_at_1": "hit@1",
    "strict_hit_at_5": "hit@5",
    "strict_hit_at_10": "hit@10",
    "strict_reciprocal_rank": "MRR",
    "strict_ndcg": "nDCG",
}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reports_errors(tune))


def tune(named: Named, version: Version = None, cases: Cases = None, json: Json = False) -> None:
    """Look for better settings of a version's retrieval.

    Tries weights, sizes and numbers of chunks, and the floor of an extractive provider, on one half of the cases, and
    checks what looks best on the other half. Keeps every setting as a nested MLflow run, and changes nothing.
    """
    from mlflow_project.evaluation.cases import load_cases
    from mlflow_project.evaluation.tuning.run import tune as sweep_settings
    from mlflow_project.evaluation.workplace import workplace

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end like Ctrl-C when a task is stopped
    steps, source = Steps(), cases or f"prompts/{named.name}/cases.jsonl"
    with command_parts() as parts:
        place = workplace(parts)
        release = place.release(named.name, version_of(named, version, parts.registry))
        sweep, address = sweep_settings(place, release, load_cases(source), source, steps.step)
    steps.report()
    data = {
        "name": release.name,
        "version": release.version,
        "run": address,
        "changes": any(each.change for each in sweep.advice),
        "advice": [asdict(each) for each in sweep.advice],
        "setting": sweep.setting.parameters() | ({} if sweep.floor is None else {"floor": sweep.floor}),
        "measured": [_plain(sweep, at) for at in range(len(sweep.measured))],
    }
    emit(data, json, lambda console: _show(console, sweep, data))


def _plain(sweep: Sweep, at: int) -> dict[str, Any]:
    question, measured = sweep.measured[at]
    means = {name: measured.mean(name) for name in measured.scores}
    return {"question": question, "setting": measured.setting.parameters(), "characters": measured.characters, **means}


def _show(console: Console, sweep: Sweep, data: dict[str, Any]) -> None:
    rows = [
        [question, each.setting.name, *(f"{each.mean(name):.3f}" for name in _SHOWN), f"{each.characters:,.0f}"]
        for question, each in sweep.measured
    ]
    console.print(table(["question", "setting", *_SHOWN.values(), "characters"], rows, "Strict, on the first half"))
    for each in sweep.advice:
        console.print(f"{each.question}: {each.words}", markup=False, soft_wrap=True)
    if data["changes"]:
        console.print(_how(data["setting"]), markup=False, soft_wrap=True)
    console.print(f"Nothing was changed. The run: {data['run']}", markup=False, soft_wrap=True)


def _how(setting: dict[str, Any]) -> str:
    """What to write into the template, and how to prepare the table, for what is advised."""
    weights = ", ".join(f"{name}: {setting[name]:g}" for name in ("chunks", "words_weight", "vectors_weight"))
    lines = [f"In the template: retrieval: {{{weights}}}"]
    if "floor" in setting:
        lines.append(f"and for the provider: parameters: {{floor: {setting['floor']:g}}}")
    if "size" in setting:
        unit = " --unit tokens" if setting["unit"] == "tokens" else ""
        lines.append(f"Before: switchyard prepare IN OUT --size {setting['size']} --overlap {setting['overlap']}{unit}")
    return "\n".join([*lines, "Then register the prompt, evaluate it and ask the gate."])
