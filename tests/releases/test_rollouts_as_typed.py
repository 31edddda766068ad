"""A rollout as a person types it: each command does what the guide says, and a mistake gets one sentence.

No server runs here, so commands wait for no worker. `tests/serving/test_rollouts.py` has the servers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlflow_project.ledger import Draft
from mlflow_project.promotion.intent import writer_evidence
from mlflow_project.promotion.promote import promote
from tests.releases.conftest import Yard

ANNA = "user:anna"
POLICY = "min_cases: 1\nmetrics:\n  token_f1: {direction: higher, floor: 0.5}\n"


def candidate(yard: Yard) -> int:
    """One version is live, and another is sealed against it."""
    promote(yard.parts, yard.name, yard.sealed("1"), "Production", ANNA)
    return yard.sealed("2")


def typed(yard: Yard, *words: str) -> Any:
    """The document that `switchyard rollout ...` prints."""
    process = yard.command("rollout", *words, "--json")
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return json.loads(out)


def refused(yard: Yard, *words: str) -> tuple[int, str]:
    """Exit code and message of `switchyard rollout start NAME ...`, which must be one short text."""
    code, said = yard.run("rollout", "start", *words)
    assert "Traceback" not in said
    assert len(said) < 500, said
    return code, " ".join(said.split())


@pytest.mark.long
def test_each_command_of_a_rollout_does_what_the_guide_says(yard: Yard) -> None:
    version, name = candidate(yard), yard.name
    typed(yard, "start", f"{name}/{version}", "--steps", "10%,50%,100%", "--reason", "a better prompt")
    typed(yard, "hold", name, "--reason", "lunch")
    held = typed(yard, "status", name)["rollout"]
    assert (held["share"], held["next_share"], held["held"]) == (0.1, 0.5, True)
    typed(yard, "resume", name)
    typed(yard, "step", name)
    assert typed(yard, "status", name)["rollout"]["share"] == 0.5
    typed(yard, "abort", name, "--reason", "prices are wrong")
    assert (yard.state.rollout, yard.alias(), yard.alias("Canary")) == (None, 1, None)

    typed(yard, "start", f"{name}/{version}", "--steps", "100%")
    assert (yard.state.rollout, yard.alias(), yard.alias("Previous")) == (None, version, 1)

    third = yard.sealed("3")
    typed(yard, "start", f"{name}/{third}", "--steps", "1%,100%")
    typed(yard, "finish", name)
    assert (yard.state.rollout, yard.alias(), yard.alias("Previous")) == (None, third, version)


@pytest.mark.long
def test_a_mistake_gets_one_sentence_and_the_exit_code_of_its_kind(yard: Yard, tmp_path: Path) -> None:
    version, name = candidate(yard), yard.name
    unsealed, policy = yard.register("never judged"), tmp_path / "policy.yaml"
    asked = [
        (2, "must rise", f"{name}/{version}", "--steps", "5%,1%"),
        (2, "5 percent", f"{name}/{version}", "--steps", "5 percent"),
        (2, "fortnight", f"{name}/{version}", "--every", "fortnight"),
        (2, "'planet' is no unit", f"{name}/{version}", "--unit", "planet"),
        (2, "99", f"{name}/99"),
        (2, "There is no prompt or model", "nobody/1"),
        (2, "missing.yaml", f"{name}/{version}", "--guard", str(tmp_path / "missing.yaml")),
        (4, "has no seal", f"{name}/{unsealed}"),
        (4, "live in Production already", f"{name}/1"),
    ]
    for code, part, *words in asked:
        found, said = refused(yard, *words)
        assert (found, part in said) == (code, True), said
    policy.write_text(f"{POLICY}guard: {{indicators: {{speed: {{}}}}}}\n")
    code, said = refused(yard, f"{name}/{version}", "--guard", str(policy))
    assert (code, "'speed' is no indicator that the guard knows" in said) == (2, True), said
    for word in ("step", "hold", "resume", "abort", "finish"):
        code, said = yard.run("rollout", word, name)
        assert (code, f"No rollout of {name}" in said, "Traceback" in said) == (4, True, False)

    writer = {**writer_evidence(60.0), "how": "promote", "believes_live": None}
    flip = Draft("intent", "prompt", name, "user:bert", version=version, alias="Production", evidence=writer)
    yard.parts.ledger.append_at(yard.parts.ledger.state().serial + 1, flip)
    code, said = refused(yard, f"{name}/{version}")
    assert (code, "user:bert is moving Production" in said) == (4, True), said
