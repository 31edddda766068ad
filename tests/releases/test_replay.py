"""A policy demands a replay of live questions: real traffic, its events, the replay, the gate and the seal."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from typer.testing import CliRunner

from mlflow_project.adapters.experiments import Experiments
from mlflow_project.commands.main import build
from mlflow_project.domain.release import Manifest, Message, Release
from mlflow_project.domain.verdict import Verdict
from mlflow_project.feedback.live import EVENTS
from mlflow_project.parts import Parts
from mlflow_project.promotion.audit import verify
from mlflow_project.promotion.seal_release import record_verdict
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.content import DEFAULT_PROVIDER, content_of
from mlflow_project.settings import ClientSettings, RegistrySettings, load
from tests.conftest import RunningStack

CONTEXT = "Paris is the capital of France."
POLICY = """
min_cases: 5
metrics:
  contains: {direction: higher, floor: 0.5}
  groundedness: {direction: higher, rule: non_inferior, margin: 0.05}
replay: {n: 20, non_inferior: groundedness}
"""


def switchyard(*words: str, code: int = 0) -> Any:
    """A command's JSON document, or what it said where it ends with a code of its own."""
    done = CliRunner().invoke(build(), [*words, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if done.stdout else done.stderr


@pytest.fixture
def judging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The options that name the prompt's cases and its policy."""
    monkeypatch.setenv("SWITCHYARD_EVALUATION_EXTRAS", "false")
    case = {"question": "What is the capital of France?", "context": CONTEXT, "expected": ["Paris"]}
    lines = (json.dumps({"id": str(number), **case}) for number in range(6))
    (tmp_path / "cases.jsonl").write_text("\n".join(lines))
    (tmp_path / "policy.yaml").write_text(POLICY)
    return "--cases", str(tmp_path / "cases.jsonl"), "--policy", str(tmp_path / "policy.yaml")


def register(parts: Parts, name: str, version: int) -> Release:
    """A version of a prompt whose only variable is not called `question`."""
    template = (Message("user", f"In tone {version}, answer: {{{{text}}}}"),)
    manifest = Manifest("prompt", name, template, DEFAULT_PROVIDER)
    assert parts.registry.create_prompt_version(name, *content_of(manifest)) == version
    return Release(version, manifest_digest(manifest), manifest)


def ask(name: str, number: int) -> None:
    """One question; every second one belongs to one of three sessions."""
    headers = {"X-Session-Id": f"anna@example.com {number % 3}"} if number % 2 else {}
    body = {"variables": {"text": f"What is the capital of France, tried {number} times?"}, "context": CONTEXT}
    url = f"{load(ClientSettings).api_url}/prompts/{name}/invocations"
    httpx.post(url, json=body, headers=headers, timeout=20).raise_for_status()
    time.sleep(0.06)  # a worker records at most 20 events in a second


def shipped(parts: Parts, name: str) -> list[dict[str, Any]]:
    """The events of a prompt in the object store."""
    bucket = parts.store.settings.raw_bucket
    objects = [parts.store.get(bucket, item.key) for item in parts.store.list(bucket, EVENTS)]
    rows = [json.loads(line) for data in objects for line in data.splitlines()]
    return [row for row in rows if row.get("name") == name and row.get("kind") == "answer"]


def test_a_gate_refuses_without_the_replay_that_its_policy_demands_and_the_seal_binds_it(
    stack: RunningStack, judging: tuple[str, ...]
) -> None:
    name, parts = f"replayed-{uuid4().hex[:8]}", Parts.connect()
    cases, policy = judging[:2], judging[2:]
    for version in (1, 2):
        register(parts, name, version)
    switchyard("evaluate", name, "--version", "1", *cases)
    first = switchyard("gate", name, "--version", "1", *judging)
    assert first["replay"] is None, "nothing is live, so there is nothing to replay"
    assert not switchyard("replay", name, "--version", "1", "--if-demanded", *policy)["demanded"]
    switchyard("promote", name, "--version", "1", "--to", "Production")
    assert "no live question" in switchyard("replay", name, "--version", "2", *policy, code=2)

    for number in range(24):
        ask(name, number)
    deadline = time.monotonic() + 30
    while len(shipped(parts, name)) < 24 and time.monotonic() < deadline:
        time.sleep(0.5)
    rows = shipped(parts, name)
    assert {row["route"] for row in rows} == {"/prompts/{name}/invocations"}
    assert len({row["session"] for row in rows} - {None}) == 3
    assert "anna" not in json.dumps(rows)

    switchyard("evaluate", name, "--version", "2", *cases)
    refused = switchyard("gate", name, "--version", "2", *judging, code=4)
    assert refused["outcome"] == "inconclusive"
    assert any("run `switchyard replay" in reason for reason in refused["reasons"])

    first = switchyard("replay", name, "--version", "2", *policy)
    replayed = switchyard("replay", name, "--version", "2", *policy)
    assert [each["spending"]["number"] for each in (first, replayed)] == [1, 2]
    recorded = [row["evidence"]["run"] for row in switchyard("history", name) if row["type"] == "replay"]
    assert sorted(recorded) == sorted([first["run"], replayed["run"]])
    assert (replayed["outcome"], replayed["demanded"], replayed["agreement"]) == ("accepted", True, 1.0)
    assert (replayed["questions"], replayed["found"]) == (20, 24)
    experiments = Experiments(load(RegistrySettings))
    run = experiments.get(replayed["run"])
    table = json.loads(experiments.read(run, "worst_pairs.json"))
    assert table["columns"][2:4] == [f"{name}/2", f"{name}/1"]
    assert len(table["data"]) == 20
    assert table["data"][0][2] == table["data"][0][3] == CONTEXT

    written = experiments.read(run, "replay.json")
    experiments.write(run, "replay.json", written.replace(b'"questions": 20', b'"questions": 99'))
    assert "is not what the replay wrote" in switchyard("gate", name, "--version", "2", *judging, code=4)
    experiments.write(run, "replay.json", written)
    verdict = switchyard("gate", name, "--version", "2", *judging)
    seal = parts.ledger.state().of(name).seals[2]
    stated = json.loads(base64.b64decode(seal.envelope["payload"]))["predicate"]
    assert stated["replay"] == {"run": replayed["run"], "digest": replayed["replay_digest"], "questions": 20}
    assert verdict["replay"] == stated["replay"]
    assert any("it is replay 2 of these releases" in reason for reason in verdict["reasons"])

    switchyard("promote", name, "--version", "2", "--to", "Staging")
    assert [finding.check for finding in verify(parts, name) if not finding.ok] == []
    experiments.write(run, "replay.json", b"{}")
    assert [finding.check for finding in verify(parts, name) if not finding.ok] == ["scores"]


def test_a_shadow_gets_copies_of_real_requests_and_its_report_compares_the_answers(
    stack: RunningStack, judging: tuple[str, ...]
) -> None:
    name, parts = f"shadowed-{uuid4().hex[:8]}", Parts.connect()
    assert "so there are no requests to copy" in switchyard("shadow", "start", name, "--version", "2", code=2)
    for version in (1, 2):
        record_verdict(
            parts,
            release=register(parts, name, version),
            verdict=Verdict("accepted", ("it was good",)),
            policy_digest="sha256:0",
            champion=None,
            runs={"candidate": None, "champion": None},
            cases={"digest": "sha256:0", "count": 1},
            who="user:test",
        )
        if version == 1:
            switchyard("promote", name, "--version", "1", "--to", "Production")
    register(parts, name, 3)
    start = ("shadow", "start", name, "--version")
    assert "has no seal" in switchyard(*start, "3", code=4)
    assert "is what Production serves" in switchyard(*start, "1", code=4)
    switchyard(*start, "2", "--share", "0%", code=2)
    begun = switchyard(*start, "2", "--share", "100%", "--rate", "100", "--budget", "1")
    assert (begun["share"], begun["per_second"], begun["usd_per_day"]) == (1.0, 100, 1.0)
    assert "has been the shadow" in switchyard(*start, "2", code=4)

    deadline = time.monotonic() + 60
    while switchyard("shadow", "status", name)[0]["loaded"] < 1 and time.monotonic() < deadline:
        time.sleep(0.5)
    for number in range(5):
        ask(name, number)
    while switchyard("shadow", "status", name)[0]["pairs"] < 5 and time.monotonic() < deadline:
        time.sleep(0.5)
    found = switchyard("shadow", "report", name, *judging[2:])
    assert (found["pairs"], found["failed"], found["agreement"]) == (5, 0, 1.0)
    assert found["metrics"]["shadow"]["groundedness"] == found["metrics"]["production"]["groundedness"] == 1.0
    experiments = Experiments(load(RegistrySettings))
    table = json.loads(experiments.read(experiments.get(found["run"]), "worst_pairs.json"))
    assert [row[2] for row in table["data"]] == [CONTEXT] * 5
    stopped = switchyard("shadow", "stop", name, "--reason", "compared", *judging[2:])
    assert stopped["report"]["pairs"] == 5
    assert switchyard("shadow", "status") == []
    assert "has no shadow" in switchyard("shadow", "report", name, code=2)
    told = [(row["type"], row["version"]) for row in switchyard("history", name) if "shadow" in row["type"]]
    assert sorted(told) == [("shadow", 2), ("shadow_stop", 2)]
