"""Real servers for tests, once for each pytest process: a stack with its own state folder and ports, started as far as
a test needs it. The user's stack, settings and state are never touched; everything is stopped by id at the end."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from stack.addresses import read_environment
from stack.ingest.kafka import fetch_all as fetch_kafka
from stack.ingest.processes import up as start_ingestion
from stack.ports import free_port
from stack.processes import down, up

ROOT = Path(__file__).parents[1]
PUBLIC_DATA = Path(os.environ.get("SWITCHYARD_PUBLIC_DATA", ROOT.parent / "shared" / "data"))
"""Public data sets that may lie beside the repository. Tests on them add to the tests on the repository's own texts."""
ON_PUBLIC_DATA = {
    "answering/test_extractive_on_xquad.py": "xquad",
    "training/test_intent_on_banking77.py": "banking77",
}
"""Test files, and the data set that each needs."""
LEFT_OUT = [file for file, data_set in ON_PUBLIC_DATA.items() if not (PUBLIC_DATA / data_set).is_dir()]
PORTS = (
    *("MINIO_PORT", "MINIO_CONSOLE_PORT", "MLFLOW_PORT", "API_PORT", "CONSOLE_PORT"),
    *("KAFKA_PORT", "KAFKA_CONTROLLER_PORT", "INGEST_PORT"),
)
TOLD_TO_END = "The run was told to end."
collect_ignore = LEFT_OUT


def pytest_report_header() -> str | None:
    """Say what is left out where the public data sets are missing."""
    if not LEFT_OUT:
        return None
    return f"public data: {PUBLIC_DATA} is not there, or not whole, so these are left out: {', '.join(LEFT_OUT)}"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Prepare for being told to end. SIGTERM ends the test that runs, starts no further one, and stops the servers;
    a library that catches the exception, as Spark's gateway does, cannot prevent it. Ctrl-C also works in a run that a
    shell started in the background, as the tests of interruption need."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        session.shouldstop = TOLD_TO_END
        raise KeyboardInterrupt(TOLD_TO_END)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, end)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End with the exit code of SIGTERM where that ended the run."""
    if session.shouldstop == TOLD_TO_END:
        session.exitstatus = 128 + signal.SIGTERM


@dataclass(frozen=True)
class RunningStack:
    """A test's stack: its state folder, and what other processes need in their environment to use it."""

    state: Path
    env: dict[str, str]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The public data sets beside the repository."""
    return PUBLIC_DATA


@contextmanager
def own_settings() -> Iterator[Path]:
    """Use an empty state folder, free ports and none of the caller's own settings. At the end, stop what runs there and
    remove the folder."""
    state = Path(tempfile.mkdtemp(prefix="switchyard-test-"))
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("SWITCHYARD_", "LLM_API_", "MLFLOW_", "OTEL_"))]:
        del os.environ[name]
    os.environ["SWITCHYARD_STATE"] = str(state)
    os.environ["SWITCHYARD_ENV_FILE"] = str(state / "none.env")
    for name in (
        "MINIO_PORT",
        "MINIO_CONSOLE_PORT",
        "MLFLOW_PORT",
        "API_PORT",
        "CONSOLE_PORT",
        "KAFKA_PORT",
        "KAFKA_CONTROLLER_PORT",
        "INGEST_PORT",
    ):
        os.environ[f"SWITCHYARD_{name}"] = str(free_port())
    try:
        yield state
    finally:
        down(state, say=_quiet)
        shutil.rmtree(state, ignore_errors=True)
        os.environ.clear()
        os.environ.update(before)


def running(state: Path, *parts: str) -> RunningStack:
    """Start these parts of the stack where they do not run yet. From then on settings load from the environment."""
    up(state, parts, say=_quiet)
    values = read_environment(state)
    os.environ.update(values)
    return RunningStack(state, values)


@pytest.fixture(scope="session")
def _own_settings() -> Iterator[Path]:
    """The session's."""
    with own_settings() as state:
        yield state


@pytest.fixture(scope="session")
def minio(_own_settings: Path) -> RunningStack:
    """MinIO with its buckets; settings of this session load from the environment."""
    return running(_own_settings, "minio")


@pytest.fixture(scope="session")
def kafka(_own_settings: Path) -> RunningStack:
    """Kafka with the topics of `schemas/topics.yaml`; settings of this session load from the environment."""
    fetch_kafka()
    start_ingestion(_own_settings, ("kafka",), say=_quiet)
    values = read_environment(_own_settings)
    os.environ.update(values)
    return RunningStack(_own_settings, values)


@pytest.fixture(scope="session")
def registry_server(minio: RunningStack) -> RunningStack:
    """MinIO and the MLflow server."""
    return running(minio.state, "minio", "mlflow")


@pytest.fixture(scope="session")
def stack(registry_server: RunningStack) -> RunningStack:
    """Everything: MinIO, MLflow, follower, server, guard, console."""
    return running(registry_server.state, "minio", "mlflow", "follower", "server", "guard", "console")


def _quiet(_: str) -> None:
    """Says nothing."""
