"""Ends a follower, or a worker of the server, that runs and does nothing, so that it is started again.

supervisord sees a process that died, not one that was stopped or hangs. The age of what the process writes after each
look shows that. A follower that has just started gets more time for its first look, because a busy machine may need a
minute to load the program. Each follower that this watchdog ends doubles the patience with the next ones, until one of
them writes.

An event listener of supervisord: supervisord asks it every five seconds, and it reports into supervisord's log.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor import childutils

from mlflow_project.settings import ServerSettings, load
from stack.worker_watch import silent_workers

SILENT_SECONDS = 15.0
"""A follower that has looked once writes several times a second."""
FIRST_LOOK_SECONDS = 90.0
MOST_PATIENCE = 16
_RUNNING = 20
"""supervisord's number for RUNNING."""


@dataclass
class Watchdog:
    """Decides when a follower counts as silent. `patience` multiplies both time limits."""

    contact: Path
    patience: int = 1

    def is_silent(self, follower: Mapping[str, Any], now: float) -> bool:
        """Whether the follower had time to write and has not written. Times are seconds since the epoch.

        A follower that never had an answer from the registry writes no file, and is left alone.
        """
        if follower["state"] != _RUNNING or not self.contact.exists():
            return False
        written = self.contact.stat().st_mtime
        if written < follower["start"]:
            return bool(now - follower["start"] > self.patience * FIRST_LOOK_SECONDS)
        if now - written <= SILENT_SECONDS:
            self.patience = 1
        return now - written > self.patience * SILENT_SECONDS

    def ended(self) -> None:
        """Note that a follower was ended: the next ones get twice the time."""
        self.patience = min(MOST_PATIENCE, 2 * self.patience)


def main() -> None:
    """Answer supervisord's ticks until it ends."""
    watchdog = Watchdog(_contact_file())
    server = load(ServerSettings)
    supervisor = childutils.getRPCInterface(os.environ).supervisor
    while True:
        childutils.listener.wait(sys.stdin, sys.stdout)
        follower = supervisor.getProcessInfo("follower")
        if watchdog.is_silent(follower, time.time()):
            _end("follower", follower["pid"], watchdog.patience * SILENT_SECONDS)
            watchdog.ended()
        running = supervisor.getProcessInfo("server")["pid"]
        for worker in silent_workers(watchdog.contact.parent / "workers", running, server.api_worker_silence):
            _end("worker", worker, server.api_worker_silence)
        childutils.listener.ok(sys.stdout)


def _end(part: str, pid: int, seconds: float) -> None:
    sys.stderr.write(f"{part} {pid} said nothing for {seconds:g} s: it is ended\n")
    sys.stderr.flush()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _contact_file() -> Path:
    serving = os.environ.get("SWITCHYARD_SERVING_FOLDER") or Path(os.environ["SWITCHYARD_STATE"]) / "serving"
    return Path(serving) / "contact.json"


if __name__ == "__main__":
    main()
