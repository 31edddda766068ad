"""A worker counts what it answers by arm, and a host's object has each request once: what the guard judges by."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from mlflow_project.domain.release import ProviderChoice
from mlflow_project.rules.masking import Masker
from mlflow_project.snapshot.arm_counts import ArmKey, host_counts, runs_of
from mlflow_project.snapshot.content import Split
from mlflow_project.snapshot.folder import ServingFolder
from serving.app import Settings, build
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated
from tests.serving.in_process import client_of, set_up
from tests.serving.snapshots import Snapshots, released

__all__ = ["released"]

OPENAI = ProviderChoice("openai", "simulated-1", {"tries": 1})
SHARE, ROLLOUT = 0.4, 7


def test_each_request_counts_once_on_the_arm_that_its_answer_names(
    released: Snapshots, provider_server: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    released.seal("counted", "Quote.")
    canary = released.seal("counted", "Be brief.", provider=OPENAI)
    released.point("counted", 1)
    released.point("counted", 1, "Staging")
    released.point("counted", 2, "Canary")
    folder = ServingFolder(released.path)
    old = released.live["counted", "Production"].digest
    split = Split("counted", ROLLOUT, "5a17" * 4, SHARE, "session", 2, canary.digest, old)
    folder.write_snapshot(replace(folder.read_snapshot(), splits=(split,)))
    set_up(monkeypatch, released, provider_server)
    provider_server.will(*[Behaviour(status=400)] * 5)
    said: Counter[tuple[str, str, bool]] = Counter()

    async def ask() -> None:
        async with client_of(build(Settings(), Masker())) as http:
            for number in range(60):
                body = {"variables": {"question": "Where?"}, "context": "Paris is in France."}
                headers = {"X-Session-Id": f"s{number}"}
                answer = await http.post("/prompts/counted/invocations", json=body, headers=headers)
                arm, release = answer.headers["X-Release-Arm"], answer.headers["X-Release"]
                said[arm, release, answer.status_code == 200] += 1
            await http.post("/prompts/counted/invocations", json=body, headers={"X-Alias": "Staging"})

    asyncio.run(ask())
    (counts,) = (counts for _, counts in runs_of(host_counts(folder.counts, "h")))
    mine = {arm: each for arm, each in counts.items() if arm.name == "counted"}
    found = {(arm.arm, f"counted/{arm.version}"): (each.requests, each.errors) for arm, each in mine.items()}
    told = {(arm, release) for arm, release, _ in said}
    assert found == {key: (said[*key, True] + said[*key, False], said[*key, False]) for key in told}
    assert {arm for arm, _ in found} == {"canary", "baseline", "production"}
    assert mine[ArmKey("counted", 2, "canary", ROLLOUT)].errors == 5
    assert sum(requests for requests, _ in found.values()) == 60, "the request for Staging is none of them"
