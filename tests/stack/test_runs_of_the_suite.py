"""How a run of the suite ends: when it is told to, in a test whose libraries swallow exceptions, and in a clone
without data sets beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT

PYTEST = (sys.executable, "-m", "pytest", "-o", "addopts=--import-mode=importlib -m 'not long'")
ALONE = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plugins take seconds to load
SWALLOWED = """
import time
from pathlib import Path

import pytest

folder = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def server():
    yield
    (folder / "server-was-stopped").touch()


def test_which_waits_in_a_call_that_swallows_exceptions():
    (folder / "waiting").touch()
    try:
        time.sleep(60)
    except Exception:
        pass


def test_which_comes_later():
    (folder / "went-on").touch()
"""


def test_a_run_that_is_told_to_end_ends_and_stops_its_servers(tmp_path: Path) -> None:
    (tmp_path / "test_waiting.py").write_text(SWALLOWED)
    command = [*PYTEST, "-p", "tests.conftest", "--rootdir", tmp_path, tmp_path]
    run = subprocess.Popen(command, cwd=ROOT, env=ALONE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "waiting").exists():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    run.send_signal(signal.SIGTERM)
    said, _ = run.communicate(timeout=30)
    assert run.returncode == 143, said
    assert (tmp_path / "server-was-stopped").exists()
    assert not (tmp_path / "went-on").exists()


def test_without_public_data_a_run_says_what_it_leaves_out(tmp_path: Path) -> None:
    """A stranger's clone has no data sets beside it: nothing fails, nothing is skipped, and the first lines say so."""
    done = subprocess.run(
        [*PYTEST, "--collect-only", "tests/answering"],
        cwd=ROOT,
        env={**ALONE, "SWITCHYARD_PUBLIC_DATA": str(tmp_path / "nowhere")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    header = next(line for line in done.stdout.splitlines() if line.startswith("public data: "))
    assert "nowhere is not there" in header
    assert "answering/test_extractive_on_xquad.py" in header
    assert "test_extractive_on_xquad" not in done.stdout.replace(header, "")
