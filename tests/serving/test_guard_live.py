"""The guard on real servers: a release that fails more is taken out of traffic by itself, and by one guard only.

Two simulated providers stand behind two endpoints: `steady` fails one request in twenty, `shaky` one in five.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.release import ProviderChoice, Release
from mlflow_project.domain.rollout import Plan
from mlflow_project.errors import PromotionConflict
from mlflow_project.guard.process import lead
from mlflow_project.guard.words import words
from mlflow_project.parts import Parts
from mlflow_project.promotion.promote import promote, rollback
from mlflow_project.rollouts.start import start
from mlflow_project.settings import ClientSettings
from mlflow_project.snapshot.folder import ServingFolder
from tests.conftest import ROOT, RunningStack
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated, running_provider
from tests.serving.conftest import Host, Releases, until

ANNA = "user:anna"
POLICY = {"indicators": ["errors", "latency", "schema_failures", "refusals", "cost"], "bake": "1h"}
RATE = 50.0


def fails(share: float, seed: int, count: int = 20_000) -> list[Behaviour]:
    """Behaviours that refuse this share of the requests."""
    chance = random.Random(seed)
    return [Behaviour(status=400 if chance.random() < share else 200, latency_ms=5) for _ in range(count)]


@pytest.fixture(scope="module")
def providers() -> Iterator[dict[str, Simulated]]:
    with running_provider() as steady, running_provider() as shaky:
        yield {"steady": steady, "shaky": shaky}


@pytest.fixture(scope="module")
def host(
    registry_server: RunningStack, providers: dict[str, Simulated], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("guarded")
    endpoints = "".join(
        f"  {name}: {{protocol: openai, url: {provider.openai_url}, model: m}}\n"
        for name, provider in providers.items()
    )
    file = folder / "providers.yaml"
    file.write_text(f"endpoints:\n{endpoints}")
    running = Host(folder / "host", SWITCHYARD_PROVIDERS=str(file)).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def parts(released: Releases, host: Host) -> Parts:
    client = ClientSettings(api_url=f"http://127.0.0.1:{host.port}")
    return replace(released.parts, serving=ServingFolder(host.folder), client=client, receipt_timeout=10.0)


@pytest.fixture(autouse=True)
def providers_fail(providers: dict[str, Simulated], host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHYARD_PROVIDERS", host.env["SWITCHYARD_PROVIDERS"])
    providers["steady"].will(*fails(0.05, 1))
    providers["shaky"].will(*fails(0.20, 2))


@dataclass(frozen=True)
class Answered:
    at: float
    release: str
    status: int


class Callers:
    """So many requests a second, each of its own session."""

    def __init__(self, host: Host, name: str, rate: float = RATE) -> None:
        self.answers: list[Answered] = []
        self._url = f"http://127.0.0.1:{host.port}/prompts/{name}/invocations"
        self._pause, self._stop = 8 / rate, threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(8)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        due = time.monotonic() + self._pause * number / 8
        with httpx.Client(timeout=10) as http:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due += self._pause
                answer = http.post(self._url, json={"variables": {"question": "why?"}})
                self.answers.append(Answered(time.time(), answer.headers.get("X-Release", ""), answer.status_code))

    def last_of(self, release: str) -> float:
        """When this release answered last."""
        return max(each.at for each in self.answers if each.release == release)


@contextmanager
def guarding(parts: Parts) -> Iterator[None]:
    """A guard at work in a thread, with a ledger of its own to read: that is no object for two threads."""
    stop = threading.Event()
    own = replace(Parts.connect(), serving=parts.serving, client=parts.client, receipt_timeout=10.0)
    thread = threading.Thread(target=lead, args=(own, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def sealed(released: Releases, name: str, endpoint: str, champion: Release | None) -> Release:
    choice = ProviderChoice("openai", "m", {"tries": 1}, endpoint)
    return released.seal(name, f"{endpoint} {uuid4().hex}", champion=champion, guard=POLICY, provider=choice)


def two_versions(released: Releases, parts: Parts, host: Host, new: str = "shaky") -> str:
    """A name of its own: version 1 is live on the steady provider, and version 2, on another one, is sealed."""
    name = f"guarded-{uuid4().hex[:8]}"
    first = sealed(released, name, "steady", None)
    promote(parts, name, 1, "Production", ANNA)
    sealed(released, name, new, first)
    until(lambda: host.ask(name).headers.get("X-Release") == f"{name}/1", "version 1 answers")
    return name


def record_of(parts: Parts, name: str, kind: str) -> LedgerRecord | None:
    return next((each for each in parts.ledger.records() if (each.name, each.type) == (name, kind)), None)


@pytest.mark.long
def test_a_promotion_that_brings_errors_is_rolled_back_once_with_receipts_and_numbers(
    released: Releases, parts: Parts, host: Host
) -> None:
    name = two_versions(released, parts, host)
    with guarding(parts), Callers(host, name) as callers:
        until(lambda: len(callers.answers) >= 200, "the old release has a past")
        time.sleep(2)  # the past is published
        promote(parts, name, 2, "Production", ANNA)
        began = time.time()
        until(lambda: record_of(parts, name, "rollback") is not None, "the guard rolls back", 60)
        host.serves(name, 1)
        last = callers.last_of(f"{name}/2")
    record = record_of(parts, name, "rollback")
    assert record is not None
    assert (record.who, record.version, record.from_version) == ("guard", 1, 2)
    assert record.evidence["receipts"]["missing"] == []
    intent = next(each for each in parts.ledger.records() if each.serial == record.intent)
    (errors,) = (each for each in intent.evidence["guard"]["indicators"] if each["indicator"] == "errors")
    assert errors["answer"] == "harm"
    assert errors["rate"] > errors["rate_before"]
    assert last - began < 30, "seconds on the bad release after the promotion"
    assert words(parts.store)[name]["state"] == "harm"


@pytest.mark.long
def test_a_canary_that_fails_more_ends_the_rollout(released: Releases, parts: Parts, host: Host) -> None:
    name = two_versions(released, parts, host)
    with guarding(parts), Callers(host, name) as callers:
        plan = Plan((0.1, 1.0), 600.0, "request", POLICY)
        change = start(parts, name, 2, plan, ANNA)
        began = time.time()
        until(lambda: record_of(parts, name, "abort") is not None, "the guard ends the rollout", 120)
        time.sleep(1)
        last = callers.last_of(f"{name}/2")
    record = record_of(parts, name, "abort")
    assert record is not None
    assert (record.who, record.intent) == ("guard", change.rollout.id)
    assert record.evidence["guard"]["answer"] == "harm"
    assert last - began < 120, "seconds on the bad release after the first step"


@pytest.mark.long
def test_without_callers_no_step_is_taken_and_with_them_a_good_canary_goes_to_the_end(
    released: Releases, parts: Parts, host: Host
) -> None:
    name = two_versions(released, parts, host, new="steady")
    with guarding(parts):
        start(parts, name, 2, Plan((0.5, 1.0), 1.0, "request", POLICY), ANNA)
        until(lambda: words(parts.store).get(name) is not None, "the guard watches")
        time.sleep(4)
        rollout = parts.ledger.state().of(name).rollout
        assert rollout is not None
        assert rollout.share == 0.5, "no traffic is never clear"
        assert "no traffic" in words(parts.store)[name]["sentence"]
        with Callers(host, name):
            until(lambda: record_of(parts, name, "finish") is not None, "the guard finishes the rollout", 120)
    record = record_of(parts, name, "finish")
    assert record is not None
    assert record.who == "guard"
    assert record.evidence["guard"]["answer"] == "clear"


@pytest.mark.long
def test_while_the_provider_of_the_old_release_is_down_too_nothing_is_rolled_back(
    released: Releases, parts: Parts, host: Host, providers: dict[str, Simulated]
) -> None:
    name = two_versions(released, parts, host)
    with guarding(parts), Callers(host, name) as callers:
        until(lambda: len(callers.answers) >= 200, "the old release has a past")
        time.sleep(2)
        for provider in providers.values():
            provider.will(always=Behaviour(status=400))
        promote(parts, name, 2, "Production", ANNA)

        def state() -> Any:
            return words(parts.store).get(name, {}).get("state")

        until(lambda: state() == "old_release_fails", "the guard says so", 60)
        time.sleep(3)
    assert record_of(parts, name, "rollback") is None


@contextmanager
def guard_process(host: Host) -> Iterator[subprocess.Popen[bytes]]:
    """A guard in a process of its own."""
    command = [str(Path(sys.executable).parent / "switchyard"), "guard"]
    process = subprocess.Popen(command, env=host.env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(30)


@pytest.mark.long
def test_a_guard_that_was_paused_and_wakes_finds_another_one_and_only_one_acts(
    released: Releases, parts: Parts, host: Host
) -> None:
    name = two_versions(released, parts, host)
    with Callers(host, name) as callers, guard_process(host) as first:
        until(lambda: len(callers.answers) >= 200, "the old release has a past")
        change = start(parts, name, 2, Plan((0.3, 1.0), 600.0, "request", POLICY), ANNA)
        until(lambda: words(parts.store).get(name) is not None, "the first guard watches")
        first.send_signal(signal.SIGSTOP)
        with guard_process(host):
            until(lambda: record_of(parts, name, "abort") is not None, "the second one ends the rollout", 120)
            first.send_signal(signal.SIGCONT)
            time.sleep(3)
    ends = [each for each in parts.ledger.records() if each.name == name and each.intent == change.rollout.id]
    assert [each.type for each in ends if each.type in ("abort", "finish")] == ["abort"]


@pytest.mark.long
def test_of_two_rollbacks_that_were_decided_on_the_same_release_one_happens(
    released: Releases, parts: Parts, host: Host
) -> None:
    name = two_versions(released, parts, host)
    promote(parts, name, 2, "Production", ANNA)
    live = parts.ledger.state().of(name).live["Production"]
    rollback(parts, name, "guard", "harm", 1, expected=live.serial)
    with pytest.raises(PromotionConflict, match="Something else is live"):
        rollback(parts, name, "guard", "harm", 1, expected=live.serial)


@pytest.mark.long
def test_a_guard_that_was_killed_leaves_requests_alone_and_the_next_one_goes_on(
    released: Releases, parts: Parts, host: Host
) -> None:
    name = two_versions(released, parts, host)
    with Callers(host, name) as callers:
        with guard_process(host) as guard:
            until(lambda: len(callers.answers) >= 200, "the old release has a past")
            start(parts, name, 2, Plan((0.3, 1.0), 600.0, "request", POLICY), ANNA)
            until(lambda: words(parts.store).get(name) is not None, "the guard watches")
            guard.kill()
            guard.wait()
        before = len(callers.answers)
        until(lambda: len(callers.answers) > before + 50, "requests are answered")
        with guard_process(host):
            until(lambda: record_of(parts, name, "abort") is not None, "the next guard ends the rollout", 120)
    assert parts.ledger.state().of(name).rollout is None
    assert [each.type for each in parts.ledger.records() if each.name == name].count("abort") == 1
