"""Kill -9 at every write of a rollout's commands. Alias, ledger and rollout agree then, or `repair` makes them."""

from __future__ import annotations

import signal

import pytest

from mlflow_project.domain.rollout import Plan
from mlflow_project.errors import PromotionConflict, Refused, SealBroken
from mlflow_project.promotion.promote import promote
from mlflow_project.promotion.repair import repair
from mlflow_project.rollouts import changes
from mlflow_project.rollouts.start import start
from tests.releases.conftest import Yard
from tests.releases.test_crashes import assert_all_agrees, gates, run

ANNA = "user:anna"
PLAN = Plan((0.1, 1.0))
WRITES = {"start": 4, "step": 6, "abort": 2, "finish": 6}
"""How many writes each command makes: records, and aliases in MLflow. The step here is the last one."""
KILLS = [
    (how, write, when) for how, most in WRITES.items() for write in range(1, most + 1) for when in ("before", "after")
]


def candidate(yard: Yard) -> int:
    """One version is live, and another is sealed against it."""
    promote(yard.parts, yard.name, yard.sealed("1"), "Production", ANNA)
    return yard.sealed("2")


def all_agrees(yard: Yard) -> None:
    rollout = yard.state.rollout
    assert yard.alias("Canary") == (rollout.version if rollout is not None else None)
    assert_all_agrees(yard)


@pytest.mark.long
@pytest.mark.parametrize(("how", "write", "when"), KILLS)
def test_a_command_killed_at_any_write_leaves_what_repair_makes_whole(
    yard: Yard, how: str, write: int, when: str
) -> None:
    version = candidate(yard)
    arguments: list[str] = []
    if how == "start":
        arguments = ["--version", str(version), "--steps", "10%,100%"]
    else:
        start(yard.parts, yard.name, version, PLAN, ANNA)
    with gates(yard) as between:
        between.kill_at_write(write, when)
        code, said = run(yard, between, "rollout", how, yard.name, *arguments)
    assert code == -signal.SIGKILL, said
    repair(yard.parts, "user:bert")
    all_agrees(yard)
    if yard.state.rollout is not None:
        changes.abort(yard.parts, yard.name, changes.Order("user:bert"))
    all_agrees(yard)
    assert yard.run("promote", yard.name, "--version", str(version), "--to", "Production")[0] == 0
    all_agrees(yard)


def test_what_cannot_be_rolled_out_is_refused_in_one_sentence_with_its_exit_code(yard: Yard) -> None:
    parts, name = yard.parts, yard.name
    unsealed = yard.register("0")
    with pytest.raises(Refused, match="is live in Production, so a rollout has nothing"):
        start(parts, name, unsealed, PLAN, ANNA)
    version = candidate(yard)
    with pytest.raises(SealBroken, match="has no seal"):
        start(parts, name, unsealed, PLAN, ANNA)
    with pytest.raises(Refused, match="live in Production already"):
        start(parts, name, version - 1, PLAN, ANNA)
    with pytest.raises(Refused, match="No rollout of"):
        changes.step(parts, name, changes.Order(ANNA))
    code, said = yard.run("rollout", "start", f"{name}/{version}", "--steps", "5%,1%")
    assert (code, "must rise" in said, "Traceback" in said) == (2, True, False)
    start(parts, name, version, PLAN, ANNA)
    code, said = yard.run("rollout", "start", f"{name}/{version}", "--steps", "1%", "--json")
    assert (code, "user:anna is rolling out" in said) == (4, True)
    stale = yard.state.rollout
    changes.hold(parts, name, changes.Order("user:bert", "wait"))
    with pytest.raises(PromotionConflict, match="has changed meanwhile"):
        changes.abort(parts, name, changes.Order("guard", expected=stale))
    code, said = yard.run("rollout", "status", name)
    assert (code, "held: user:bert" in said) == (0, True)
