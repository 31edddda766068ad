"""The whole stack of the session: all parts ready, everything on loopback, no secret where it does not belong."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.settings import StoreSettings, load
from stack.readiness import is_ready
from stack.status import status
from stack.supervision import Supervisor
from tests.conftest import RunningStack


def test_every_part_is_ready(stack: RunningStack) -> None:
    assert [(row["part"], row["ready"]) for row in status(stack.state)] == [
        ("minio", True),
        ("mlflow", True),
        ("follower", True),
        ("server", True),
        ("guard", True),
        ("console", True),
    ]


@pytest.mark.long
def test_a_follower_that_was_stopped_is_started_again(stack: RunningStack) -> None:
    supervisor = Supervisor(stack.state)
    before = supervisor.processes()["follower"]["pid"]
    os.kill(before, signal.SIGSTOP)
    deadline = time.monotonic() + 60
    while supervisor.processes()["follower"]["pid"] in {0, before} or not is_ready("follower", stack.env):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert f"follower {before} said nothing" in (stack.state / "logs" / "watchdog.log").read_text()


def test_everything_listens_on_loopback_only(stack: RunningStack) -> None:
    listening = {
        connection.laddr[0]
        for process in Supervisor(stack.state).marked()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}  # the last is how Java writes the first


def test_no_secret_stands_on_a_command_line_or_in_a_log_of_any_part(stack: RunningStack) -> None:
    secret = stack.env["SWITCHYARD_S3_SECRET_KEY"]
    assert not any(secret in line for line in said_by(stack))


def said_by(stack: RunningStack) -> Iterator[str]:
    for process in Supervisor(stack.state).marked():
        yield " ".join(process.cmdline())
    for log in (stack.state / "logs").iterdir():
        yield log.read_text(errors="replace")


def test_mlflow_puts_artifacts_into_the_object_store_through_its_proxy(stack: RunningStack) -> None:
    address = f"{stack.env['SWITCHYARD_MLFLOW_URI']}/api/2.0/mlflow-artifacts/artifacts/probe/note.txt"
    httpx.put(address, content=b"kept").raise_for_status()
    assert ObjectStore(load(StoreSettings)).get("models-bucket", "mlflow/probe/note.txt") == b"kept"


def test_mlflow_answers_to_no_other_host_name(stack: RunningStack) -> None:
    address = f"{stack.env['SWITCHYARD_MLFLOW_URI']}/api/2.0/mlflow/experiments/search?max_results=1"
    assert httpx.get(address).status_code == 200
    assert httpx.get(address, headers={"Host": "elsewhere.example"}).status_code == 403
