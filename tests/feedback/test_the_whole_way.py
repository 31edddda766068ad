"""From events in the object store to drift in MLflow, a review and new cases: the real store, Spark and MLflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from mlflow_project.adapters.experiments import Experiments
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.commands.main import build
from mlflow_project.evaluation.cases import load_cases
from mlflow_project.settings import RegistrySettings, load
from tests.conftest import ROOT, RunningStack
from tests.feedback.three_days import BEFORE, ship, ship_rows


@pytest.fixture(scope="module")
def name() -> str:
    return f"watched-{uuid4().hex[:6]}"


@pytest.fixture(scope="module")
def shipped(registry_server: RunningStack, name: str) -> ObjectStore:
    """Three days of traffic, of a prompt and of a model."""
    ship_rows(f"{name}-model")
    return ship(name)


def program(*words: str) -> dict[str, Any]:
    """A command of ours, with `--json`."""
    switchyard = Path(sys.executable).parent / "switchyard"
    done = subprocess.run([switchyard, *words, "--json"], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def command(*words: str) -> dict[str, Any]:
    """The same without a process of its own, whose start takes seconds."""
    done = CliRunner().invoke(build(), [*words, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_events_become_drift_in_mlflow_and_delta_and_judgements_become_cases(
    shipped: ObjectStore, name: str, tmp_path: Path
) -> None:
    found = program("drift", name, "--window", "24h")
    (release,) = found["releases"]
    assert (release["status"], found["drifted"], release["rows"]) == ("drift", True, 100), release["explanation"]
    alarming = {one["check"] for one in release["found"] if one["alarm"]}
    assert {"question language", "question new terms", "question meaning"} <= alarming
    assert not {"refusals", "schema failures"} & alarming

    experiments = Experiments(load(RegistrySettings))
    (run,) = experiments.find(experiments.experiment(f"drift-{name}"), {"switchyard.drift": "drift"})
    assert experiments.read(run, "projection.png").startswith(b"\x89PNG")
    assert len(json.loads(experiments.read(run, "projection.json"))["points"]) == 100
    kept = command("sql", f"select count(*) as n from delta.`s3a://curated-data-bucket/drift` where name = '{name}'")
    assert kept == [{"n": len(release["found"])}]
    again = command("drift", name, "--window", "24h", "--no-collect")
    assert again["releases"][0]["found"] == release["found"], "the same window gives the same again"

    of_model = command("drift", f"{name}-model", "--window", "24h", "--no-collect")
    (release,) = of_model["releases"]
    assert release["of_model"]
    assert {one["check"] for one in release["found"] if one["alarm"]} == {"input amount", "prediction"}
    assert release["kinds"] == {"data": True, "output": True}
    assert of_model["corpus"] is None

    sample = tmp_path / "review.jsonl"
    assert command("review", "--n", "5", "--out", str(sample), "--no-collect")["answers"] == 5
    rows = [json.loads(line) for line in sample.read_text().splitlines()]
    rows[0] |= {"judgement": "good"}
    sample.write_text("\n".join(json.dumps(row) for row in rows))
    assert command("review", "--judged", str(sample)) == {"judgements": 1, "new": True}
    assert command("review", "--judged", str(sample)) == {"judgements": 1, "new": False}

    written = command("cases", "from-feedback", "--out", str(tmp_path), "--no-collect")[name]
    (case,) = load_cases(written["file"])
    assert (case.question, case.expected) == (BEFORE[1], ("The four eyes of the gate.",))
    assert case.origin is not None
    assert "judged" in case.origin
    before = Path(written["file"]).read_bytes()
    command("cases", "from-feedback", "--out", str(tmp_path), "--no-collect")
    assert Path(written["file"]).read_bytes() == before, "the same judgements make the same cases"
