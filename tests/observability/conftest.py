"""Prometheus and the collector beside the session's stack, built if they are not; hosts that send to them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from mlflow_project.settings import load
from stack.addresses import read_environment
from stack.observe import processes, programs
from stack.ports import free_port
from tests.conftest import RunningStack
from tests.serving.conftest import new_host, provider_process, provider_server, released, until

__all__ = ["new_host", "provider_process", "provider_server", "released"]


@dataclass(frozen=True)
class Observed:
    """A running Prometheus and collector."""

    prometheus: str
    collector: str
    health: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What Prometheus answers now."""
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def returns(self, expression: str, seconds: float = 60) -> list[float]:
        """Wait until the query returns numbers; these."""
        until(lambda: bool(self._numbers(expression)), f"data for {expression}", seconds)
        return self._numbers(expression)

    def _numbers(self, expression: str) -> list[float]:
        values = [float(row["value"][1]) for row in self.query(expression)]
        return [value for value in values if value == value]


@pytest.fixture(scope="session")
def built() -> None:
    """The binaries; minutes where they are not in the cache yet."""
    programs.build_all(programs.prometheus(), programs.collector())


@pytest.fixture(scope="session")
def observed(stack: RunningStack, built: None) -> Iterator[Observed]:
    """What `make observe` starts, on free ports."""
    for name in processes.OWNERS:
        os.environ[f"SWITCHYARD_{name.upper()}"] = str(free_port())
    processes.up(stack.state, say=lambda _: None)
    settings = load(processes.ObserveSettings)
    at = processes.addresses(settings)
    yield Observed(at["prometheus"], at["collector"], f"http://127.0.0.1:{settings.collector_health_port}/")
    processes.down(stack.state)
    assert processes.OTLP not in read_environment(stack.state)
