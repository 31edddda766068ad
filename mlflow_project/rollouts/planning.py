"""The plan of a rollout: what the policy says, and what a person says instead. The questions that are asked first.

In: a name, and the files in `prompts/NAME` or `models/NAME` of the working folder. Out: a `Plan`; request bodies.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from mlflow_project.domain.rollout import USUAL_STEPS, Plan, Unit, read_seconds, read_steps
from mlflow_project.evaluation.policies import load_policy


def plan_for(
    name: str,
    policy: Path | None = None,
    steps: str | None = None,
    every: str | None = None,
    unit: str | None = None,
) -> Plan:
    """The plan of the policy, with what the other arguments say instead.

    Raises:
        NotFound, InvalidData: there is no such policy, or it has mistakes; an argument cannot be read.
    """
    usual = (Path(folder, name, "policy.yaml") for folder in ("prompts", "models"))
    file = policy or next((path for path in usual if path.exists()), None)
    found = load_policy(file) if file is not None else None
    plan = (found.rollout if found is not None else None) or Plan(read_steps(USUAL_STEPS))
    plan = replace(plan, guard=found.guard if found is not None else None)
    if steps is not None:
        plan = replace(plan, steps=read_steps(steps))
    if every is not None:
        plan = replace(plan, seconds=read_seconds(every))
    return replace(plan, unit=cast(Unit, unit)) if unit is not None else plan  # Plan refuses what is no unit


def usual_questions(name: str) -> Path | None:
    """The file with the cases of a prompt, whose first questions a rollout asks; None: there is none."""
    file = Path("prompts", name, "cases.jsonl")
    return file if file.exists() else None
