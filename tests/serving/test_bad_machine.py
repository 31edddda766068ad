"""A machine that misbehaves under a running server: a state folder that cannot be written, a clock that is set back."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.serving.conftest import Host, until
from tests.serving.faults.conftest import Load
from tests.serving.snapshots import Snapshots, released

__all__ = ["released"]

_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE = 24, 1
_CLOCK = """
import os, time
_time, _time_ns = time.time, time.time_ns
def _back(): return 3600 if os.path.exists(os.environ["TEST_CLOCK_IS_BACK"]) else 0
time.time = lambda: _time() - _back()
time.time_ns = lambda: _time_ns() - _back() * 10**9
"""


@pytest.fixture
def placed(released: Snapshots) -> str:
    """The name of a prompt whose version 1 is live."""
    if ("bad", "Production") not in released.live:
        for system in ("one", "two"):
            released.seal("bad", system)
    released.point("bad", 1)
    return "bad"


def _bound_by_modes() -> None:
    """Root may write whatever the modes say; not without this capability."""
    ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)


def _folders(path: Path) -> list[Path]:
    return [path, *(each for each in path.rglob("*") if each.is_dir())]


@pytest.fixture
def read_only(released: Snapshots) -> Iterator[Callable[[], None]]:
    """Takes the right to write away from every folder of the state; given back at the end."""

    def forbid() -> None:
        for folder in _folders(released.path):
            folder.chmod(0o555)

    yield forbid
    for folder in _folders(released.path):
        folder.chmod(0o755)


def _started(host: Host) -> Host:
    with open(os.devnull, "wb") as nowhere:
        command = [sys.executable, "-m", "serving"]
        host.server = subprocess.Popen(
            command, env=host.env, cwd=ROOT, stdout=nowhere, stderr=nowhere, preexec_fn=_bound_by_modes
        )
    until(host.is_ready, "the server is ready", 120)
    return host


def test_a_server_starts_and_serves_on_a_state_folder_that_is_read_only(
    released: Snapshots, placed: str, read_only: Callable[[], None]
) -> None:
    read_only()
    host = _started(released.host())
    try:
        assert [host.ask(placed).status_code for _ in range(5)] == [200] * 5
    finally:
        host.stop()


def test_a_state_folder_that_becomes_read_only_costs_no_request(
    released: Snapshots, placed: str, read_only: Callable[[], None]
) -> None:
    host = _started(released.host())
    try:
        with Load(host, placed) as running:
            read_only()
            running.through(1.0)
        assert running.failures == []
    finally:
        host.stop()


def test_a_clock_that_is_set_back_by_an_hour_costs_no_request_and_stops_no_flip(
    released: Snapshots, placed: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_CLOCK)
    back = tmp_path / "back"
    host = released.host(
        PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}",
        TEST_CLOCK_IS_BACK=str(back),
        SWITCHYARD_LIMIT_REQUESTS="1000000/hour",
    )
    host.start_server()
    try:
        with Load(host, placed) as running:
            running.through(0.3)
            back.touch()
            running.through(0.5)
            released.point(placed, 2)
            host.serves(placed, 2)
        assert running.failures == []
        assert host.workers() != [], "its heart beats on"
        assert host.releases()["registry"]["reachable"] is True
    finally:
        host.stop()
