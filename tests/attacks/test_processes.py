"""Processes that are killed by somebody who may: what the stack's owner finds afterwards, and what puts it right."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mlflow_project.errors import ConfigError
from stack.marks import MARK
from stack.ports import free_port, is_free
from stack.processes import down, up
from stack.readiness import is_ready
from stack.status import status_of_all
from stack.supervision import Supervisor
from tests.conftest import ROOT, RunningStack


def until(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A stack of one part, MinIO, which starts in a second."""
    for name in [name for name in os.environ if name.startswith("SWITCHYARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SWITCHYARD_STATE", str(tmp_path / "state"))
    for name in ("MINIO_PORT", "MINIO_CONSOLE_PORT", "MLFLOW_PORT", "API_PORT", "CONSOLE_PORT", "AIRFLOW_PORT"):
        monkeypatch.setenv(f"SWITCHYARD_{name}", str(free_port()))
    up(tmp_path / "state", ("minio",), say=lambda _: None)
    yield tmp_path / "state"
    down(tmp_path / "state", say=lambda _: None)


def kill_the_process_manager(state: Path) -> None:
    manager = psutil.Process(int((state / "supervisord.pid").read_text()))
    manager.kill()
    manager.wait(10)


def test_a_part_that_starts_again_first_ends_what_it_left_behind(tmp_path: Path) -> None:
    """The attacker kills a part's first process with SIGKILL. Its child, which holds the port, gets ended; the child
    of another part, and the same part's child of another stack, do not."""

    def left_behind(part: str, state: str) -> subprocess.Popen[bytes]:
        env = {**os.environ, MARK: state, "SUPERVISOR_PROCESS_NAME": part}
        return subprocess.Popen(["sleep", "60"], env=env, start_new_session=True)

    mine = left_behind("mlflow", str(tmp_path))
    others = [left_behind("server", str(tmp_path)), left_behind("mlflow", "/another/stack")]
    try:
        os.kill(mine.pid, signal.SIGSTOP)
        env = {**os.environ, MARK: str(tmp_path), "SUPERVISOR_PROCESS_NAME": "mlflow"}
        begun = subprocess.Popen(
            [sys.executable, "-m", "stack.start", "sh", "-c", "echo $$"],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        said, errors = begun.communicate(timeout=40)
        assert said.strip() == str(begun.pid), "the command takes the place of the process that started it"
        assert "An earlier mlflow left 1 processes behind" in errors
        assert mine.wait(5) < 0
        assert [other.poll() for other in others] == [None, None]
    finally:
        for process in (mine, *others):
            process.kill()
            process.wait()


def test_an_orphan_is_named_by_status_and_ended_and_named_by_down(state: Path) -> None:
    """The attacker kills the process manager. MinIO goes on alone; its owner sees it, and `make down` ends it."""
    kill_the_process_manager(state)
    port = int(os.environ["SWITCHYARD_MINIO_PORT"])
    rows = [row for row in status_of_all(state) if row["state"] == "orphan"]
    assert [row["part"] for row in rows] == ["minio"]
    assert f"port {port}" in rows[0]["address"]
    said: list[str] = []
    down(state, say=said.append)
    assert f"minio (process {rows[0]['pid']}, minio)" in said[0]
    assert is_free(port)
    assert Supervisor(state).marked() == []


def test_up_ends_and_names_orphans_and_starts_afresh(state: Path) -> None:
    """The attacker kills the process manager; `make up` neither fails on the taken port nor keeps the orphan."""
    kill_the_process_manager(state)
    said: list[str] = []
    up(state, ("minio",), say=said.append)
    assert re.search(r"left \d processes behind: .*minio", said[0])
    assert Supervisor(state).orphans() == []


def test_a_port_that_another_stack_holds_is_named_with_the_command_that_frees_it(state: Path, tmp_path: Path) -> None:
    """Somebody removed a clone while its stack ran, and starts another one: the message says how to end the first."""
    with pytest.raises(ConfigError) as told:
        up(tmp_path / "another", ("minio",), say=lambda _: None)
    assert f"of the stack in {state}: `SWITCHYARD_STATE={state} make down` ends it" in str(told.value)
    assert Supervisor(tmp_path / "another").marked() == []


def test_a_stack_with_all_its_processes_has_no_orphan(stack: RunningStack) -> None:
    assert Supervisor(stack.state).orphans() == []


@pytest.mark.long
@pytest.mark.parametrize("part", ["mlflow", "server", "follower", "minio"])
def test_a_part_whose_first_process_is_killed_is_ready_again_by_itself(stack: RunningStack, part: str) -> None:
    """The attacker kills a part's first process with SIGKILL, its children stay. Nobody has to end them by hand."""
    supervisor = Supervisor(stack.state)
    before = psutil.Process(supervisor.processes()[part]["pid"])
    family = [before, *before.children(recursive=True)]
    before.kill()
    until(lambda: supervisor.processes()[part]["pid"] not in {0, before.pid}, f"{part} starts again")
    until(lambda: is_ready(part, stack.env), f"{part} is ready again", 120)
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
    assert supervisor.orphans() == []
