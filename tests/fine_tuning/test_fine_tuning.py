"""`switchyard fine-tune` against the simulated provider: one job a request, whatever fails meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mlflow_project.adapters.registry import Registry
from mlflow_project.domain.release import ProviderChoice
from mlflow_project.rules.content import manifest_of
from mlflow_project.settings import RegistrySettings, load
from tests.conftest import ROOT, RunningStack
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated

PAID = ("--usd-per-million", "8", "--max-usd", "1")


def command(*words: object) -> list[str]:
    return [str(Path(sys.executable).with_name("switchyard")), "fine-tune", *map(str, words), "--json"]


def environment(provider: Simulated) -> dict[str, str]:
    return {**os.environ, "LLM_API_URL": provider.openai_url, "LLM_API_KEY": "sk-secret-of-the-test"}


def fine_tune(provider: Simulated, *words: object, **settings: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON and messages of a command."""
    done = subprocess.run(
        command(*words),
        cwd=ROOT,
        env={**environment(provider), **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    assert "sk-secret-of-the-test" not in done.stderr + done.stdout
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def test_the_cost_is_estimated_first_and_nothing_is_submitted(
    registry_server: RunningStack, provider_server: Simulated, examples: Path
) -> None:
    code, data, _ = fine_tune(provider_server, examples, "--model", "base-1", "--usd-per-million", 1_000_000)
    assert code == 0
    assert data["estimate"]["examples"] == 10
    assert data["estimate"]["usd"] == data["estimate"]["tokens"] > 3 * 10 * 6
    assert provider_server.requests == []
    code, _, said = fine_tune(provider_server, examples, "--model", "base-1", "--usd-per-million", 1e6, "--max-usd", 1)
    assert (code, provider_server.requests) == (4, [])
    assert "Nothing was submitted" in said


def test_the_tuned_model_answers_a_new_version_that_is_the_old_one_besides(
    provider_server: Simulated, examples: Path, prompt: str
) -> None:
    code, data, _ = fine_tune(provider_server, examples, "--model", "base-1", "--for", f"{prompt}/1", *PAID)
    assert code == 0
    assert data["registered"]["version"] == 2
    registry = Registry(load(RegistrySettings))
    before, after = (manifest_of(registry.version(prompt, version)) for version in (1, 2))
    assert after.provider == ProviderChoice("openai", f"ft:base-1:{prompt}", {"temperature": 0})
    assert (after.template, after.prices) == (before.template, None)
    entry = registry.entry(prompt)
    assert entry is not None
    assert entry.aliases == {"Candidate": 2}
    (job,) = provider_server.script.tuning.jobs
    assert job["method"]["supervised"]["hyperparameters"] == {"n_epochs": 3}
    uploaded = provider_server.script.tuning.files
    assert (examples / "train.jsonl").read_text() in uploaded[job["training_file"]]
    assert (examples / "validation.jsonl").read_text() in uploaded[job["validation_file"]]
    again = fine_tune(provider_server, examples, "--model", "base-1", "--for", f"{prompt}/1", *PAID)[1]
    assert (again["registered"]["version"], again["registered"]["created"]) == (2, False)
    assert len(provider_server.script.tuning.jobs) == 1


def test_a_named_endpoint_is_asked_and_pinned(
    provider_server: Simulated, examples: Path, prompt: str, tmp_path: Path
) -> None:
    endpoint = {"protocol": "openai", "url": provider_server.openai_url, "key": {"env": "LLM_API_KEY"}}
    (tmp_path / "providers.yaml").write_text(json.dumps({"endpoints": {"tuner": endpoint}}))
    words = (examples, "--model", "base-1", "--for", f"{prompt}/1", "--endpoint", "tuner", *PAID)
    elsewhere = {"LLM_API_URL": "http://127.0.0.1:9", "SWITCHYARD_PROVIDERS": str(tmp_path / "providers.yaml")}
    provider_server.script.tuning.looks = 1
    assert fine_tune(provider_server, *words, **elsewhere)[0] == 0
    assert {asked.headers["authorization"] for asked in provider_server.requests} == {"Bearer sk-secret-of-the-test"}
    tuned = manifest_of(Registry(load(RegistrySettings)).version(prompt, 2)).provider
    assert tuned is not None
    assert tuned.endpoint == "tuner"


def test_a_crash_at_any_moment_pays_for_no_second_job(
    registry_server: RunningStack, provider_server: Simulated, examples: Path
) -> None:
    """Killed while it waits; and a connection that breaks just when the provider has created the job."""
    provider_server.script.tuning.looks = 1_000
    words = (examples, "--model", "base-2", *PAID)
    with subprocess.Popen(
        command(*words), cwd=ROOT, env=environment(provider_server), stderr=subprocess.DEVNULL
    ) as process:
        until = time.monotonic() + 60
        while not any(job["looks"] for job in provider_server.script.tuning.jobs):
            assert time.monotonic() < until, "no job was created"
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    code, data, _ = fine_tune(provider_server, *words, "--no-wait")
    assert (code, data["job"]["id"], data["job"]["status"]) == (0, "ftjob-0", "running")
    provider_server.script.tuning.looks = 1
    assert fine_tune(provider_server, *words)[1]["job"]["tuned_model"] == "ft:base-2:switchyard"
    assert len(provider_server.script.tuning.files) == 2
    uncertain = (examples, "--model", "base-3", *PAID)
    fine = Behaviour()
    provider_server.will(fine, fine, fine, Behaviour(fault="cut"))
    code, _, said = fine_tune(provider_server, *uncertain)
    assert code == 3, said
    assert fine_tune(provider_server, *uncertain)[1]["job"]["status"] == "succeeded"
    assert [job["model"] for job in provider_server.script.tuning.jobs] == ["base-2", "base-3"]


def test_a_busy_provider_is_asked_again(
    registry_server: RunningStack, provider_server: Simulated, examples: Path
) -> None:
    provider_server.will(Behaviour(status=429, retry_after="0.1"), Behaviour(fault="drop"), Behaviour(status=503))
    code, data, _ = fine_tune(provider_server, examples, "--model", "base-1", *PAID, "--no-wait")
    assert (code, data["job"]["id"]) == (0, "ftjob-0")


def test_what_the_provider_refuses_or_fails_at_is_told_and_can_be_tried_anew(
    provider_server: Simulated, examples: Path, prompt: str
) -> None:
    tuning, words = provider_server.script.tuning, (examples, "--model", "base-1", "--for", f"{prompt}/1", *PAID)
    tuning.refuses = "The model base-1 cannot be tuned."
    code, _, said = fine_tune(provider_server, *words)
    assert code == 2
    assert tuning.refuses in said
    tuning.refuses, tuning.ends = "", "failed"
    code, _, said = fine_tune(provider_server, *words)
    assert code == 4
    assert "too much alike" in said
    assert Registry(load(RegistrySettings)).versions(prompt)[-1].version == 1
    tuning.ends = "succeeded"
    assert fine_tune(provider_server, *words)[0] == 0
    assert len(tuning.jobs) == 2


def test_a_job_can_be_cancelled(registry_server: RunningStack, provider_server: Simulated, examples: Path) -> None:
    provider_server.script.tuning.looks = 1_000
    words = (examples, "--model", "base-1", *PAID)
    assert fine_tune(provider_server, *words, "--no-wait")[0] == 0
    code, data, _ = fine_tune(provider_server, *words, "--cancel")
    assert (code, data["job"]["status"]) == (0, "cancelled")
    assert fine_tune(provider_server, *words, "--cancel")[0] == 2


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "train.jsonl").write_text("{}\n"), "was changed"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "cannot be read"),
        (lambda folder: (folder / "manifest.json").unlink(), "There is no manifest.json"),
        (
            lambda folder: (folder / "manifest.json").write_text(
                (folder / "manifest.json").read_text().replace("openai", "gemini")
            ),
            "--provider openai",
        ),
    ],
)
def test_a_set_that_is_not_as_it_was_exported_is_refused(
    registry_server: RunningStack, provider_server: Simulated, examples: Path, spoil: Any, said: str
) -> None:
    spoil(examples)
    code, _, message = fine_tune(provider_server, examples, "--model", "base-1", *PAID)
    assert code == 2
    assert said in message
    assert provider_server.requests == []
