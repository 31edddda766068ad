"""Real servers for tests, once a session: a stack of its own with its own state folder and free ports, started as far
as a test needs it. The user's stack, settings and state are never touched; everything is stopped by id at the end."""

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
from stack.ports import free_port
from stack.processes import down, up

ROOT = Path(__file__).parents[1]


def pytest_configure() -> None:
    """A run that is told to end stops its servers first; one that a shell started in the background hears Ctrl-C too,
    as the tests of interruption need."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("The run was told to end.", returncode=143))


@dataclass(frozen=True)
class RunningStack:
    """A test's stack: its state folder, and what other processes need in their environment to use it."""

    state: Path
    env: dict[str, str]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public data sets beside the repository."""
    return ROOT.parent / "shared" / "data"


@contextmanager
def own_settings() -> Iterator[Path]:
    """An empty state folder, free ports, and none of the caller's own settings; taken away at the end, with what runs
    there."""
    state = Path(tempfile.mkdtemp(prefix="switchyard-test-"))
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("SWITCHYARD_", "LLM_API_", "MLFLOW_", "OTEL_"))]:
        del os.environ[name]
    os.environ["SWITCHYARD_STATE"] = str(state)
    os.environ["SWITCHYARD_ENV_FILE"] = str(state / "none.env")
    for name in ("MINIO_PORT", "MINIO_CONSOLE_PORT", "MLFLOW_PORT", "API_PORT"):
        os.environ[f"SWITCHYARD_{name}"] = str(free_port())
    try:
        yield state
    finally:
        down(state, say=_quiet)
        shutil.rmtree(state, ignore_errors=True)
        os.environ.clear()
        os.environ.update(before)


def running(state: Path, *parts: str) -> RunningStack:
    """These parts of the stack, started where they do not run yet; settings load from the environment from then on."""
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
def registry_server(minio: RunningStack) -> RunningStack:
    """MinIO and the MLflow server."""
    return running(minio.state, "minio", "mlflow")


@pytest.fixture(scope="session")
def stack(registry_server: RunningStack) -> RunningStack:
    """Everything: MinIO, MLflow, follower, server."""
    return running(registry_server.state, "minio", "mlflow", "follower", "server")


def _quiet(_: str) -> None:
    """Says nothing."""
