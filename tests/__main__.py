"""`python -m tests`: the whole suite in two lanes side by side, as `make test` runs it on two cores.

One lane starts programs and mostly waits for them (stacks by hand, Airflow, the demo), and has Spark's tests, so that
both take about as long; the other one has the rest. Each lane is one pytest process with a stack of its own, so that no
test of one lane disturbs a server of the other. A line of output begins with the lane's name. Exit code 0: both lanes
passed. SIGTERM and Ctrl-C end both, with their servers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAMS = ("stack", "dags", "e2e", "feedback", "spark")
"""The folders of the first lane; every other folder is in the second one."""


class Lane:
    """One pytest process, its output line by line, and the lines that name what failed."""

    def __init__(self, name: str, folders: list[str], options: list[str]) -> None:
        self.name = name
        self.failures: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "pytest", *(f"tests/{folder}" for folder in folders), *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches this program alone, which passes it on
        )
        self._began = time.monotonic()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def end(self) -> int:
        """Wait until the lane has ended; its exit code."""
        code = self.process.wait()
        self._reader.join()
        say(f"{self.name:10}| ended with exit code {code} after {time.monotonic() - self._began:.0f} s")
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            say(f"{self.name:10}| {line.rstrip()}")
            if line.startswith(("FAILED ", "ERROR ")):
                self.failures.append(line.rstrip())


def main(options: list[str]) -> int:
    """Run both lanes to their ends, with the same options for pytest."""
    folders = sorted({path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").glob("*/**/test_*.py")})
    lanes = [
        Lane("programs", [folder for folder in folders if folder in PROGRAMS], options),
        Lane("computing", sorted(set(folders) - set(PROGRAMS), key=_serving_first), options),
    ]

    def end_all(number: int, _: object) -> None:
        for lane in lanes:
            if lane.process.poll() is None:
                os.kill(lane.process.pid, signal.SIGTERM)
        say(f"{signal.Signals(number).name}: both lanes are told to end; they stop their servers first.")

    signal.signal(signal.SIGTERM, end_all)
    signal.signal(signal.SIGINT, end_all)
    codes = [lane.end() for lane in lanes]
    for lane in lanes:
        for failure in lane.failures:
            say(failure)
    return max(codes, key=abs)


def _serving_first(folder: str) -> tuple[bool, str]:
    """The faults of a server are timed, and a follower is slower the more names other tests have left in the stack."""
    return folder != "serving", folder


def say(text: str) -> None:
    """Write one line, whole, also when the other lane writes at the same moment."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
