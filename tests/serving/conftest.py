"""A host of its own for tests of the server: real follower and server processes over the session's MLflow and MinIO."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mlflow_project.adapters.registry import Registry
from mlflow_project.domain.release import Manifest, Message, ProviderChoice, Release
from mlflow_project.domain.verdict import Verdict
from mlflow_project.parts import Parts
from mlflow_project.promotion.seal_release import record_verdict
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.content import content_of, manifest_of
from mlflow_project.snapshot.workers import live_workers
from stack.ports import free_port
from tests.conftest import ROOT, RunningStack
from tests.provider.fixtures import Simulated, running_provider


class Releases:
    """Seals versions of prompts and moves their aliases, as gate and people do."""

    def __init__(self) -> None:
        self.parts = Parts.connect()
        self.registry: Registry = self.parts.registry

    def register(self, name: str, system: str = "", **fields: Any) -> Release:
        """A new version, not sealed. `system` makes its content unlike others."""
        template = (Message("system", system), Message("user", "{{question}}"))
        provider = ProviderChoice("extractive", "extractive-1", {"sentences": 1})
        manifest = Manifest("prompt", name, **{"template": template, "provider": provider, **fields})
        text, tags = content_of(manifest)
        version = self.registry.create_prompt_version(name, text, tags)
        content = manifest_of(self.registry.version(name, version))
        return Release(version, manifest_digest(content), content)

    def seal(
        self,
        name: str,
        system: str = "",
        *,
        protected: bool = False,
        champion: Release | None = None,
        guard: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Release:
        """A new version, sealed; to be promoted, against the champion that is live."""
        release = self.register(name, system, **fields)
        record_verdict(
            self.parts,
            release=release,
            verdict=Verdict("accepted", ("it was good",)),
            policy_digest="sha256:" + "0" * 64,
            champion=champion,
            runs={"candidate": None, "champion": None},
            cases={"digest": "sha256:" + "0" * 64, "count": 1},
            who="user:test",
            protected=protected,
            guard=guard,
        )
        return release

    def point(self, name: str, version: int, alias: str = "Production") -> None:
        """Move an alias by hand."""
        self.registry.set_alias(name, alias, version)


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Host:
    """One host: a follower and a server with their own serving folder."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SWITCHYARD_SERVING_FOLDER": str(folder),
            "SWITCHYARD_HOST_NAME": folder.name,
            "SWITCHYARD_API_PORT": str(self.port),
            "SWITCHYARD_POLL_MS": "50",
            "SWITCHYARD_MODEL_TRIAL": "false",  # costs seconds per model; tests/attacks/test_model_files.py tries it
            **settings,
        }
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10)
        self.follower: subprocess.Popen[bytes] | None = None
        self.server: subprocess.Popen[bytes] | None = None

    def start_follower(self) -> None:
        self.follower = self._start("follower", [str(Path(sys.executable).parent / "switchyard"), "follow"])

    def start_server(self, *, ready: bool = True) -> None:
        self.server = self._start("server", [sys.executable, "-m", "serving"])
        if ready:
            until(self.is_ready, "the server is ready", 120)

    def start(self) -> Host:
        try:
            self.start_follower()
            self.start_server()
        except BaseException:
            self.stop()
            raise
        return self

    def stop_follower(self) -> None:
        """Nothing follows from here on; the server goes on."""
        _end(self.follower)

    def stop(self) -> None:
        for process in (self.server, self.follower):
            _end(process)
        self.http.close()

    def workers(self) -> list[int]:
        """The ids of the processes that serve."""
        return [report.pid for report in live_workers(self.folder / "workers")]

    def ask(self, name: str, question: str = "why?", **headers: str) -> httpx.Response:
        body = {"variables": {"question": question}}
        return self.http.post(f"/prompts/{name}/invocations", json=body, headers=headers)

    def releases(self) -> Any:
        return self.http.get("/releases").json()

    def serves(self, name: str, version: int) -> None:
        """Wait until this version answers."""
        until(lambda: self.ask(name).headers.get("X-Release") == f"{name}/{version}", f"{name}/{version} answers")

    def refusal_of(self, name: str) -> str:
        """Wait until something of this name is refused; the reason."""
        until(lambda: any(no["name"] == name for no in self.releases()["refused"]), f"a release of {name} is refused")
        return next(no["reason"] for no in self.releases()["refused"] if no["name"] == name)

    def log(self, part: str) -> str:
        return (self.folder / f"{part}.log").read_text()

    def is_ready(self) -> bool:
        try:
            return self.http.get("/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def _start(self, part: str, command: list[str]) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{part}.log").open("ab") as log:
            return subprocess.Popen(command, env=self.env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def until(holds: Callable[[], bool], what: str, seconds: float = 90) -> float:
    """Ask until it holds; the seconds it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.01)
    return time.monotonic() - began


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


@pytest.fixture(scope="session")
def released(registry_server: RunningStack) -> Releases:
    """Seals and aliases of the session's stack."""
    return Releases()


@pytest.fixture
def new_host(registry_server: RunningStack, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Makes hosts, and stops them at the end; not started yet."""
    hosts: list[Host] = []

    def make(**settings: str) -> Host:
        hosts.append(Host(tmp_path / f"host-{len(hosts)}-{free_port()}", **settings))
        return hosts[-1]

    yield make
    for host in hosts:
        host.stop()


@pytest.fixture(scope="module")
def host(registry_server: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host that runs for all tests of a module."""
    running = Host(tmp_path_factory.mktemp("host")).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def provider_process() -> Iterator[Simulated]:
    """One simulated provider for a module's host, which gets its address when it starts."""
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider_server(provider_process: Simulated) -> Simulated:
    """That provider, with nothing asked of it yet; it answers `A simulated answer.` until told otherwise."""
    provider_process.will()
    return provider_process
