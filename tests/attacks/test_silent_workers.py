"""Something stops a worker of the server, or keeps its event loop busy for ever.

The attacker holds a way to make one request compute without end (or, here, a signal). He wants the server to look alive
and answer nobody. He gets a worker that is replaced within `SWITCHYARD_API_WORKER_SILENCE` seconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mlflow_project.snapshot.workers import WorkerReport, write_report
from stack.worker_watch import silent_workers
from tests.serving.conftest import Host, until
from tests.serving.snapshots import Snapshots

SILENCE = 6
_BUSY = """
import signal

def stand_still(*_):
    while True:
        pass

signal.signal(signal.SIGUSR1, stand_still)
"""
"""Planted into the server's processes: Python runs a module of this name when it starts."""


@pytest.fixture
def stoppable(released: Snapshots, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host whose workers stand still on SIGUSR1."""
    (tmp_path / "sitecustomize.py").write_text(_BUSY)
    running = released.host(SWITCHYARD_API_WORKERS=str(request.param), SWITCHYARD_API_WORKER_SILENCE=str(SILENCE))
    running.env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{running.env['PYTHONPATH']}"
    running.start_server()
    until(lambda: len(running.workers()) == request.param, "all workers report", 60)
    yield running
    running.stop()


@pytest.mark.parametrize("stoppable", [2], indirect=True)
@pytest.mark.parametrize("how", [signal.SIGUSR1, signal.SIGSTOP], ids=["busy loop", "stopped"])
def test_a_worker_that_stands_still_is_replaced_in_time(stoppable: Host, how: signal.Signals) -> None:
    still = psutil.Process(stoppable.workers()[0])
    still.send_signal(how)
    assert until(lambda: not _lives(still), "it is ended", 30) < SILENCE + 1.5  # uvicorn's parent looks every 0.5 s
    until(lambda: len(stoppable.workers()) == 2, "another took its place", 60)
    if how is signal.SIGUSR1:
        assert "stand_still" in stoppable.log("server"), "the log says where the loop stood"


@pytest.mark.parametrize("stoppable", [1], indirect=True)
def test_a_single_worker_that_stands_still_ends_so_that_it_is_started_again(stoppable: Host) -> None:
    assert stoppable.server is not None
    stoppable.server.send_signal(signal.SIGUSR1)
    assert stoppable.server.wait(SILENCE + 1.5) == 1


def test_the_watchdog_names_a_worker_with_an_old_report_and_no_other_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        try:
            until(lambda: psutil.Process(child.pid).create_time() < time.time() - 0.05, "the process is a moment old")
            for beat, silent in ((time.monotonic(), []), (time.monotonic() - 30, [child.pid])):
                write_report(tmp_path, WorkerReport("w1", child.pid, beat))
                assert list(silent_workers(tmp_path, os.getpid(), 20)) == silent
            stranger = WorkerReport("w2", os.getppid(), time.monotonic() - 30)
            write_report(tmp_path, stranger)
            assert list(silent_workers(tmp_path, child.pid, 20)) == [child.pid]
            os.utime(tmp_path / "w1.json", (0, 0))  # left behind by an earlier process with the same id
            assert list(silent_workers(tmp_path, child.pid, 20)) == []
        finally:
            child.kill()


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
