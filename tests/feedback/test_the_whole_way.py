"""From events in the object store to drift in MLflow, a review and new cases: the real store, Spark and MLflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mlflow_project.adapters.experiments import Experiments
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.evaluation.cases import load_cases
from mlflow_project.settings import RegistrySettings, StoreSettings, load
from tests.conftest import ROOT, RunningStack
from tests.unit.test_spool import answer, judgement

NOW = datetime.now(UTC)
BEFORE = (
    "What does the gate decide?",
    "Who may promote a release?",
    "How long is a chunk?",
    "Where does the ledger lie?",
)
AFTER = ("Wie wird das Wetter morgen?", "Wann fährt der nächste Zug?", "Welches Restaurant hat heute offen?")
EVENTS = 320


@pytest.fixture(scope="module")
def name() -> str:
    return f"watched-{uuid4().hex[:6]}"


@pytest.fixture(scope="module")
def shipped(registry_server: RunningStack, name: str) -> ObjectStore:
    """Three days of traffic, whose last hours ask of something else; one answer was corrected."""
    store = ObjectStore(load(StoreSettings))
    events: list[Any] = []
    for number in range(EVENTS):
        late = number >= EVENTS - 100
        asked = (AFTER if late else BEFORE)[number % 3]
        at = NOW - (timedelta(hours=1) if late else timedelta(hours=60)) + timedelta(seconds=number)
        event = answer(number, f"It is number {number % 7}.")
        stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = replace(event, event_id=f"{name}-{number}", at=stamp, name=name, release=f"{name}/1", question=asked)
        events.append(event)
    said = {"name": name, "release": f"{name}/1", "answer_event": f"{name}-1", "feedback_id": name}
    events.append(judgement(f"{name}-f", 0.0, corrected_answer="The four eyes of the gate.", **said))
    body = "".join(json.dumps(event.to_dict()) + "\n" for event in events).encode()
    store.put("raw-data-bucket", f"events/day={NOW:%Y-%m-%d}/{name}.jsonl", body)
    return store


def switchyard(*words: str) -> dict[str, Any]:
    """A command of ours, with `--json`."""
    program = Path(sys.executable).parent / "switchyard"
    done = subprocess.run([program, *words, "--json"], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_events_become_drift_in_mlflow_and_delta_and_judgements_become_cases(
    shipped: ObjectStore, name: str, tmp_path: Path
) -> None:
    found = switchyard("drift", name, "--window", "24h")
    (release,) = found["releases"]
    assert (release["status"], found["drifted"], release["rows"]) == ("drift", True, 100), release["explanation"]
    alarming = {one["check"] for one in release["found"] if one["alarm"]}
    assert {"question language", "question new terms", "question meaning"} <= alarming
    assert not {"refusals", "schema failures"} & alarming

    experiments = Experiments(load(RegistrySettings))
    (run,) = experiments.find(experiments.experiment(f"drift-{name}"), {"switchyard.drift": "drift"})
    assert experiments.read(run, "projection.png").startswith(b"\x89PNG")
    assert len(json.loads(experiments.read(run, "projection.json"))["points"]) == 100
    kept = switchyard("sql", f"select count(*) as n from delta.`s3a://curated-data-bucket/drift` where name = '{name}'")
    assert kept == [{"n": len(release["found"])}]
    again = switchyard("drift", name, "--window", "24h", "--no-collect")
    assert again["releases"][0]["found"] == release["found"], "the same window gives the same again"

    sample = tmp_path / "review.jsonl"
    assert switchyard("review", "--n", "5", "--out", str(sample), "--no-collect")["answers"] == 5
    rows = [json.loads(line) for line in sample.read_text().splitlines()]
    rows[0] |= {"judgement": "good"}
    sample.write_text("\n".join(json.dumps(row) for row in rows))
    assert switchyard("review", "--judged", str(sample)) == {"judgements": 1, "new": True}
    assert switchyard("review", "--judged", str(sample)) == {"judgements": 1, "new": False}

    written = switchyard("cases", "from-feedback", "--out", str(tmp_path), "--no-collect")[name]
    (case,) = load_cases(written["file"])
    assert (case.question, case.expected) == (BEFORE[1], ("The four eyes of the gate.",))
    assert case.origin is not None
    assert "judged" in case.origin
