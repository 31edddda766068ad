"""A named pipe wakes the process that sleeps on it, whoever calls and however often."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from pathlib import Path

from mlflow_project.snapshot.wake import WakePipe, wake


def test_a_call_ends_the_sleep_and_many_calls_are_one(tmp_path: Path) -> None:
    pipe = WakePipe(tmp_path / "wake")
    assert not pipe.wait(0.01)
    fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, 4096)
    for _ in range(5_000):  # more than the pipe has room for
        wake(tmp_path / "wake")
    assert pipe.wait(10)
    assert not pipe.wait(0.01)
    threading.Timer(0.05, wake, [tmp_path / "wake"]).start()
    began = time.monotonic()
    assert pipe.wait(10)
    assert time.monotonic() - began < 5
    pipe.ring()
    assert pipe.wait(10)
    pipe.close(remove=True)
    assert not (tmp_path / "wake").exists()


def test_a_call_that_nobody_hears_does_nothing(tmp_path: Path) -> None:
    wake(tmp_path / "nothing")
    (tmp_path / "file").write_text("as it was")
    wake(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "as it was"
    os.mkfifo(tmp_path / "deserted")
    wake(tmp_path / "deserted")


def test_a_pipe_takes_the_place_of_what_an_earlier_version_left_there(tmp_path: Path) -> None:
    (tmp_path / "wake").touch()
    WakePipe(tmp_path / "wake").close()
    again = WakePipe(tmp_path / "wake")
    assert stat.S_ISFIFO((tmp_path / "wake").stat().st_mode)
    wake(tmp_path / "wake")
    assert again.wait(10)
    again.close()


def test_a_process_that_cannot_make_its_pipe_wakes_itself(tmp_path: Path) -> None:
    pipe = WakePipe(tmp_path / "no folder" / "wake")
    assert not pipe.wait(0.01)
    pipe.ring()
    assert pipe.wait(10)
    pipe.close(remove=True)
