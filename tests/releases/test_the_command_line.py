"""A prompt that somebody made in MLflow's UI, without our front matter, through every command to an answer."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from mlflow_project.adapters.experiments import Experiments
from mlflow_project.adapters.registry import Registry
from mlflow_project.api_keys import KeyFile
from mlflow_project.parts import Parts
from mlflow_project.promotion.audit import verify
from mlflow_project.promotion.views import history
from mlflow_project.rules.content import DEFAULT_PROVIDER, manifest_of
from mlflow_project.settings import RegistrySettings, load
from tests.conftest import ROOT, RunningStack

CONTEXT = "Paris is the capital of France."
POLICY = """
min_cases: 30
approval: true
protected: true
metrics:
  contains: {direction: higher, floor: 0.5, rule: non_inferior, margin: 0.05}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases and policy of the prompt."""
    made = tmp_path_factory.mktemp("by-hand")
    case = {"question": "What is the capital of France?", "context": CONTEXT, "expected": ["Paris"]}
    lines = (json.dumps({"id": str(number), **case, "tags": [f"t{number}"]}) for number in range(40))
    (made / "cases.jsonl").write_text("\n".join(lines))
    (made / "policy.yaml").write_text(POLICY)
    return made


def switchyard(folder: Path, *words: str, key: str = "", code: int = 0) -> Any:
    """A command's JSON document, or what it said where it ends with a code of its own."""
    own = {"SWITCHYARD_EVALUATION_EXTRAS": "false", "SWITCHYARD_API_KEYS_FILE": str(folder / "keys.json")}
    command = [str(Path(sys.executable).with_name("switchyard")), *words, "--json"]
    env = {**os.environ, **own, **({"SWITCHYARD_API_KEY": key} if key else {})}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def make_in_the_ui(uri: str, name: str, text: str) -> None:
    """The calls of MLflow's own page and client."""
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    with httpx.Client(base_url=f"{uri}/api/2.0/mlflow/", timeout=20) as mlflow:
        mlflow.post("registered-models/create", json={"name": name, "tags": tags}).raise_for_status()
        version = [*tags, {"key": "mlflow.prompt.text", "value": text}]
        body = {"name": name, "source": "dummy-source", "tags": version}
        mlflow.post("model-versions/create", json=body).raise_for_status()


def test_it_is_evaluated_approved_and_served_with_the_stated_defaults(stack: RunningStack, folder: Path) -> None:
    name, uri = f"by-hand-{uuid4().hex[:8]}", load(RegistrySettings).mlflow_uri
    make_in_the_ui(uri, name, "Answer: {{ question }}")
    assert manifest_of(Registry(load(RegistrySettings)).version(name, 1)).provider == DEFAULT_PROVIDER
    number, files = ("--version", "1"), ("--cases", str(folder / "cases.jsonl"))
    judging = ("gate", name, *number, *files, "--policy", str(folder / "policy.yaml"))

    evaluated = switchyard(folder, "evaluate", name, *number, *files)
    edit_scores(evaluated["releases"][0]["run"])
    assert "was edited since" in switchyard(folder, *judging, code=4)
    assert not switchyard(folder, "evaluate", name, *number, *files)["releases"][0]["reused"]
    verdict = switchyard(folder, *judging)
    assert (verdict["accepted"], verdict["approval"], verdict["sealed_before"]) == (True, True, False)
    again = switchyard(folder, *judging)
    assert (again["ledger"], again["sealed_before"]) == (verdict["ledger"], True), "sealed once on the same grounds"

    anna, bert = (KeyFile(folder / "keys.json").create(owner, ("call",))[0] for owner in ("anna", "bert"))
    switchyard(folder, "approve", name, *number, key=bert)
    flip = switchyard(folder, "promote", name, *number, "--to", "Production", key=anna)
    assert (flip["receipts"]["received"], flip["receipts"]["workers"]) == (1, 1)
    answer = switchyard(folder, "ask", name, "What is the capital of France?", "--context", CONTEXT)
    assert (answer["release"], answer["text"]) == (f"{name}/1", CONTEXT)
    parts = Parts.connect()
    assert [finding.check for finding in verify(parts, name) if not finding.ok] == []
    told = [(record.type, record.who) for record in history(parts, name)]
    assert told[1:] == [("approval", "key:bert"), ("intent", "key:anna"), ("flip", "key:anna")]


def edit_scores(run: str) -> None:
    """What anyone with access to MLflow can do."""
    experiments = Experiments(load(RegistrySettings))
    found = experiments.get(run)
    scores = json.loads(experiments.read(found, "scores.json"))
    scores["metrics"]["contains"] = [1.0] * len(scores["case_ids"])
    scores["errors"] = {}
    experiments.write(found, "scores.json", json.dumps(scores, indent=1).encode())
