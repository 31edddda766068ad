"""Keeps a sweep in MLflow: one run for the sweep, and below it a nested run for each setting.

In: a `Sweep`. Out: the address of its run, which holds the advice as its description and as `advice.json`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from mlflow_project.adapters.experiments import Experiments, Run
from mlflow_project.domain.release import Release
from mlflow_project.evaluation.mlflow_run import origin_tags
from mlflow_project.evaluation.record import VERSION_TAG
from mlflow_project.evaluation.tuning.measure import Interval
from mlflow_project.evaluation.tuning.sweep import Halves, Sweep

ADVICE_FILE = "advice.json"
QUESTION_TAG = "switchyard.tune.question"


def keep_sweep(
    experiments: Experiments, release: Release, sweep: Sweep, halves: Halves, source: str, cases: str, user: str
) -> str:
    """Write the runs. Returns the address of the sweep's own one.

    Args:
        source: where the cases come from.
        cases: their digest.
    """
    experiment = experiments.experiment(f"tune-{release.name}")
    tags = {**origin_tags(user), "mlflow.source.name": "switchyard tune", VERSION_TAG: str(release.version)}
    parent = experiments.start(experiment, f"tune {release.label}", tags)
    experiments.log_dataset(parent, digest=cases, source=source, rows=len(halves.choosing) + len(halves.held_out))
    for question, measured in sweep.measured:
        metrics = _flat({**measured.intervals(), "characters": measured.characters})
        _nested(experiments, parent, measured.setting.name, question, measured.setting.parameters(), metrics)
    for floor, interval in sweep.floors:
        _nested(experiments, parent, f"floor {floor:g}", "floor", {"floor": floor}, _flat({"correct": interval}))
    words = "\n\n".join(f"**{each.question}**: {each.words}" for each in sweep.advice)
    gains = {f"held_out_gain.{each.question.replace(' ', '_')}": each.gain for each in sweep.advice if each.gain}
    advice = {
        "setting": sweep.setting.parameters(),
        "floor": sweep.floor,
        "advice": [asdict(each) for each in sweep.advice],
    }
    experiments.write(parent, ADVICE_FILE, json.dumps(advice, ensure_ascii=False).encode())
    sizes = {"cases.choosing": len(halves.choosing), "cases.held_out": len(halves.held_out)}
    experiments.log(parent, parameters=sizes, metrics=_flat(gains), tags={"mlflow.note.content": words})
    experiments.finish(parent)
    return experiments.address(parent)


def _nested(
    experiments: Experiments,
    parent: Run,
    name: str,
    question: str,
    parameters: dict[str, Any],
    metrics: dict[str, float],
) -> None:
    run = experiments.start(parent.experiment, name, {"mlflow.parentRunId": parent.id, QUESTION_TAG: question})
    experiments.log(run, parameters=parameters, metrics=metrics)
    experiments.finish(run)


def _flat(values: dict[str, Any]) -> dict[str, float]:
    """Each interval as three metrics: the mean under its own name, and its bounds."""
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Interval):
            flat |= {name: value.mean, f"{name}.lower": value.lower, f"{name}.upper": value.upper}
        else:
            flat[name] = float(value)
    return flat
