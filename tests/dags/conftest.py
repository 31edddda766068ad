"""Airflow for tests: its environment, and all its processes beside the test's stack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stack.airflow import environment
from stack.ports import free_port
from tests.dags.driving import RunningAirflow, manage
from tests.provider.fixtures import Simulated, running_provider


@pytest.fixture(scope="session")
def airflow_python() -> Path:
    """The Python of Airflow's own environment, which is made if it is not there."""
    environment.set_up()
    return environment.programs() / "python"


@pytest.fixture(scope="session")
def provider() -> Iterator[Simulated]:
    """The simulated provider that Airflow's tasks ask."""
    with running_provider() as provider:
        os.environ["LLM_API_URL"] = provider.openai_url
        yield provider


@pytest.fixture(scope="session")
def airflow(stack: Any, airflow_python: Path, provider: Simulated) -> Iterator[RunningAirflow]:
    """Airflow beside the test's stack, on a free port, stopped at the end."""
    os.environ["SWITCHYARD_AIRFLOW_PORT"] = str(free_port())
    os.environ["SWITCHYARD_EVALUATION_EXTRAS"] = "false"  # they have a test of their own, and take seconds a run
    os.environ["AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME"] = "0.5"
    manage("up", "--active")
    try:
        yield RunningAirflow(stack.state / "airflow")
    finally:
        manage("down")
