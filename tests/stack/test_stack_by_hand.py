"""`python -m stack up|down|status`, as a person types them on their own stack: MinIO alone where that is enough."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mlflow_project.errors import ConfigError
from stack.addresses import read_environment
from stack.marks import MARK
from stack.ports import free_port, is_free
from stack.processes import down, up
from stack.status import status
from stack.supervision import Supervisor
from tests.conftest import ROOT

PORTS = (
    *("SWITCHYARD_MINIO_PORT", "SWITCHYARD_MINIO_CONSOLE_PORT", "SWITCHYARD_MLFLOW_PORT"),
    *("SWITCHYARD_API_PORT", "SWITCHYARD_CONSOLE_PORT"),
)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty state folder and free ports; whatever is still up at the end is stopped."""
    for name in [name for name in os.environ if name.startswith("SWITCHYARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SWITCHYARD_STATE", str(tmp_path / "state"))
    for name in PORTS:
        monkeypatch.setenv(name, str(free_port()))
    yield tmp_path / "state"
    down(tmp_path / "state", say=lambda _: None)


def start_minio(state: Path) -> list[str]:
    said: list[str] = []
    up(state, ("minio",), say=said.append)
    return said


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack", *words], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_a_taken_port_is_named_with_its_holder_and_nothing_is_started(state: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        os.environ["SWITCHYARD_API_PORT"] = str(holder.getsockname()[1])
        done = command("up")
    assert done.returncode == 2
    assert f"{os.environ['SWITCHYARD_API_PORT']} (server) is taken by" in done.stderr
    assert f"process {os.getpid()}" in done.stderr
    assert "SWITCHYARD_API_PORT" in done.stderr
    assert "Traceback" not in done.stderr
    assert Supervisor(state).marked() == []
    assert not (state / "stack.env").exists()


def test_one_port_wanted_twice_is_said(state: Path) -> None:
    os.environ["SWITCHYARD_MINIO_PORT"] = os.environ["SWITCHYARD_MINIO_CONSOLE_PORT"]
    with pytest.raises(ConfigError, match="wanted twice"):
        start_minio(state)


def test_up_twice_says_that_it_is_up(state: Path) -> None:
    first = start_minio(state)
    running = {process.pid for process in Supervisor(state).marked()}
    assert any("minio" in line and "ready" in line for line in first)
    assert start_minio(state) == ["The stack is up already."]
    assert {process.pid for process in Supervisor(state).marked()} == running


def test_down_leaves_no_process_no_port_and_no_socket_and_may_be_repeated(state: Path) -> None:
    start_minio(state)
    ports = [int(os.environ[name]) for name in PORTS[:2]]
    assert not any(is_free(port) for port in ports)
    down(state, say=lambda _: None)
    assert Supervisor(state).marked() == []
    assert all(is_free(port) for port in ports)
    assert not Supervisor(state).folder.exists()
    said: list[str] = []
    down(state, say=said.append)
    assert said == ["Nothing was running."]


def test_down_finds_everything_after_the_supervisor_was_killed(state: Path) -> None:
    start_minio(state)
    os.kill(int((state / "supervisord.pid").read_text()), signal.SIGKILL)
    assert "minio" in [process.name() for process in Supervisor(state).marked()]  # the watchdog ends by itself
    down(state, say=lambda _: None)
    assert Supervisor(state).marked() == []
    assert is_free(int(os.environ["SWITCHYARD_MINIO_PORT"]))


def test_up_after_the_supervisor_was_killed_ends_the_leftovers_and_starts_afresh(state: Path) -> None:
    start_minio(state)
    os.kill(int((state / "supervisord.pid").read_text()), signal.SIGKILL)
    said = start_minio(state)
    assert re.search(r"left \d processes behind: .*minio", said[0])
    assert [row["ready"] for row in status(state) if row["part"] == "minio"] == [True]


def test_a_part_that_is_killed_is_started_again(state: Path) -> None:
    start_minio(state)
    before = next(row["pid"] for row in status(state) if row["part"] == "minio")
    os.kill(before, signal.SIGKILL)
    start_minio(state)
    after = next(row for row in status(state) if row["part"] == "minio")
    assert after["pid"] != before
    assert after["ready"]


def test_credentials_and_ports_stay_over_down_and_up(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_minio(state)
    first = read_environment(state)
    down(state, say=lambda _: None)
    for name in PORTS:
        monkeypatch.delenv(name)
    start_minio(state)
    assert read_environment(state) == first


def test_what_holds_credentials_can_be_read_by_its_owner_only(state: Path) -> None:
    start_minio(state)
    private = [state / "stack.env", state / "spark" / "conf" / "spark-defaults.conf", state / "keys" / "gate.pem"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in private} == {0o600}


def test_what_the_parts_keep_can_be_read_by_its_owner_only(state: Path) -> None:
    start_minio(state)
    kept = [state / "minio" / ".minio.sys" / "format.json", state / "minio" / "raw-data-bucket"]
    assert [stat.S_IMODE(file.stat().st_mode) & 0o077 for file in kept] == [0, 0]


def test_no_secret_stands_on_a_command_line_or_in_a_log(state: Path) -> None:
    start_minio(state)
    values = read_environment(state)
    secrets = [values["SWITCHYARD_S3_SECRET_KEY"], values["SWITCHYARD_S3_ACCESS_KEY"]]
    lines = [" ".join(command_line(process)) for process in psutil.process_iter()]
    lines += [log.read_text(errors="replace") for log in (state / "logs").iterdir()]
    assert not any(secret in line for secret in secrets for line in lines)


def command_line(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def test_the_mark_of_the_stack_is_not_in_what_people_source(state: Path) -> None:
    start_minio(state)
    assert MARK not in read_environment(state)


def test_status_has_a_row_for_each_part_of_the_stack_and_of_what_runs_beside_it(state: Path) -> None:
    start_minio(state)
    rows = {row["part"]: row for row in json.loads(command("status", "--json").stdout)}
    assert list(rows) == [
        *("minio", "mlflow", "follower", "server", "guard", "console"),
        *("prometheus", "collector"),
        *("kafka", "ingestion", "writer"),
        *("scheduler", "dag-processor", "api-server"),
    ]
    assert {row["state"] for part, row in rows.items() if part != "minio"} == {"stopped"}
    assert rows["minio"]["ready"]
    assert rows["minio"]["memory_mb"] > 1
    assert (rows["server"]["state"], rows["server"]["ready"]) == ("stopped", False)


def test_status_and_logs_before_the_first_up_are_no_error_of_ours(state: Path) -> None:
    assert command("status").returncode == 0
    done = command("logs")
    assert done.returncode == 2
    assert "make up" in done.stderr


def test_an_unreadable_credentials_file_is_one_sentence(state: Path) -> None:
    (state / "stack.env").mkdir(parents=True)
    done = command("up")
    assert done.returncode == 2
    assert "credentials file" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_wrong_setting_is_in_one_message(state: Path) -> None:
    os.environ["SWITCHYARD_API_PORT"] = "eighty"
    os.environ["SWITCHYARD_MINIO_PORT"] = "70000"
    done = command("up")
    assert done.returncode == 2
    assert "SWITCHYARD_API_PORT" in done.stderr
    assert "SWITCHYARD_MINIO_PORT" in done.stderr
    assert Supervisor(state).marked() == []


def test_clean_asks_and_removes_nothing_without_a_yes(state: Path) -> None:
    start_minio(state)
    asked = subprocess.run(
        [sys.executable, "-m", "stack", "clean"], cwd=ROOT, input="no\n", capture_output=True, text=True
    )
    assert "Nothing was removed" in asked.stdout
    assert state.exists()
    assert command("clean", "--yes").returncode == 0
    assert not state.exists()
    assert Supervisor(state).marked() == []
