"""Says in words what a change of a rollout did, and how a rollout stands. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow_project.domain.rollout import percent
from mlflow_project.rollouts.changes import Change


def change_lines(change: Change) -> list[str]:
    """What was changed, and what the workers said."""
    rollout, receipts = change.rollout, change.receipts
    old = f"{rollout.name}/{rollout.baseline_version}"
    said = {
        "step": f"{rollout.label} answers {percent(rollout.share)} of the requests for Production; {old} the others",
        "hold": f"The rollout of {rollout.label} is held at {percent(rollout.share)}",
        "resume": f"The rollout of {rollout.label} goes on at {percent(rollout.share)}",
        "abort": f"The rollout of {rollout.label} is aborted; {old} answers every request for Production",
        "finish": f"Production of {rollout.name} -> {rollout.label} (was {old})",
    }
    lines = [f"{said[change.how]}, record {change.serial} of the ledger."]
    if receipts.workers:
        slowest = f"; slowest {receipts.slowest[1]:.0f} ms" if receipts.slowest else ""
        lines.append(f"receipts: {len(receipts.milliseconds)}/{len(receipts.workers)}{slowest}")
    if receipts.missing:
        lines.append(f"no receipt in time from: {', '.join(receipts.missing)}")
    return lines


def status_lines(found: dict[str, Any], guard: Sequence[str] = ()) -> list[str]:
    """How the rollout of a name stands, or how its last one ended.

    Args:
        found: what `rollouts.status` returns.
        guard: what the guard says of it, in lines.
    """
    rollout, last = found["rollout"], found["last"]
    lines = []
    if rollout is not None:
        steps = ", ".join(percent(share) for share in rollout["steps"])
        lines.append(
            f"{rollout['name']}/{rollout['version']} answers {percent(rollout['share'])} of the requests for "
            f"Production, {rollout['name']}/{rollout['baseline_version']} the others; begun by {rollout['who']} at "
            f"{rollout['opened']}, record {rollout['id']} of the ledger."
        )
        lines.append(f"steps: {steps} by {rollout['unit']}; workers that follow: {_following(rollout)}")
        lines.append(_next_step(rollout))
    else:
        lines.append(f"No rollout of {found['name']} is under way.")
    lines += guard
    if last is not None:
        why = f": {last['why']}" if last["why"] else ""
        lines.append(
            f"The last one, of {found['name']}/{last['version']}, was {last['how']} by {last['who']} at "
            f"{last['time']}{why}"
        )
    return lines


def _following(rollout: dict[str, Any]) -> str:
    missing = f" (not yet: {', '.join(rollout['missing'])})" if rollout["missing"] else ""
    return f"{rollout['following']}/{rollout['workers']}{missing}"


def _next_step(rollout: dict[str, Any]) -> str:
    if rollout["held"]:
        return f"held: {rollout['held_why']}"
    if rollout["next_share"] is None:
        return f"the last step is reached: `switchyard rollout finish {rollout['name']}` promotes the version"
    if rollout["next_step_at"] is None:
        return f"next: {percent(rollout['next_share'])}, by `switchyard rollout step {rollout['name']}`"
    return f"next: {percent(rollout['next_share'])}, at {rollout['next_step_at']} if the guard finds no harm"
