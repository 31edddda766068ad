"""Chooses what the guard does about a subject. Pure: in, a judgement and what is known; out, a `Decision`.

Harm ends a rollout, or rolls a promotion back, unless the old release is failing itself. A rollout's next step begins
when its time is over and the judgement is clear. Everything else waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlflow_project.domain.record import seconds_of
from mlflow_project.domain.rollout import Rollout
from mlflow_project.guard.subjects import Subject
from mlflow_project.rules.guard.betting import Tally
from mlflow_project.rules.guard.judge import Judgement

State = Literal["harm", "clear", "inconclusive", "old_release_fails", "broken_split", "stuck"]
"""What the guard's metric shows of a name: an answer, or why the guard does not act on it."""
STATES: tuple[State, ...] = ("harm", "clear", "inconclusive", "old_release_fails", "broken_split", "stuck")
Action = Literal["abort", "rollback", "step", "hold", "wait"]
FAILING = 0.5
"""An old release that fails more of its newest requests is failing itself."""
LEAST_RECENT = 10


@dataclass(frozen=True)
class Decision:
    """What to do, why in one sentence, and the state that metric and alerts show."""

    action: Action
    state: State
    why: str


def decide(subject: Subject, judgement: Judgement, recent_old: Tally, now: float) -> Decision:
    """Decide about one subject.

    Args:
        recent_old: errors of the old release's newest requests, where it answers beside the new one.
        now: seconds since the epoch.
    """
    found, rollout = judgement.sentence(), subject.rollout
    if recent_old.requests >= LEAST_RECENT and recent_old.hits > FAILING * recent_old.requests:
        share = float(recent_old.hits / recent_old.requests)
        why = f"The old release {subject.name}/{subject.old} fails {share:.0%} of its newest requests itself"
        return Decision("wait", "old_release_fails", f"{why}, so nothing is moved: {found}.")
    if judgement.answer == "harm":
        action: Action = "rollback" if rollout is None else "abort"
        return Decision(action, "harm", f"Harm by {subject.label}: {found}.")
    if judgement.broken_split:
        action = "hold" if rollout is not None and not rollout.held else "wait"
        return Decision(action, "broken_split", found)
    if judgement.answer == "inconclusive":
        return Decision("wait", "inconclusive", f"Not decided yet: {found}.")
    action = "step" if rollout is not None and _step_is_due(rollout, now) else "wait"
    return Decision(action, "clear", f"No harm found: {found}.")


def _step_is_due(rollout: Rollout, now: float) -> bool:
    """Whether the time of the present step is over. A person takes the steps of a rollout without times."""
    if rollout.held or rollout.seconds is None or rollout.next_share is None or rollout.share == 0:
        return False
    return now >= seconds_of(rollout.step_since) + rollout.seconds
