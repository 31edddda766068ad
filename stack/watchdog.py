"""Ends a follower, or a worker of the server, that runs and says nothing, so that it is started again.

supervisord sees a process that died, not one that was stopped or hangs; the age of what the process writes after each
look shows that. An event listener of supervisord: it is asked every five seconds, and reports into supervisord's log.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from supervisor import childutils

from mlflow_project.settings import ServerSettings, load
from stack.worker_watch import silent_workers

SILENT_SECONDS = 15.0
_RUNNING = 20
"""supervisord's number for RUNNING."""


def main() -> None:
    """Answer supervisord's ticks until it ends."""
    contact = _contact_file()
    server = load(ServerSettings)
    supervisor = childutils.getRPCInterface(os.environ).supervisor
    while True:
        childutils.listener.wait(sys.stdin, sys.stdout)
        follower = supervisor.getProcessInfo("follower")
        if is_silent(follower, contact, time.time()):
            _end("follower", follower["pid"], SILENT_SECONDS)
        running = supervisor.getProcessInfo("server")["pid"]
        for worker in silent_workers(contact.parent / "workers", running, server.api_worker_silence):
            _end("worker", worker, server.api_worker_silence)
        childutils.listener.ok(sys.stdout)


def _end(part: str, pid: int, seconds: float) -> None:
    sys.stderr.write(f"{part} {pid} said nothing for {seconds:g} s: it is ended\n")
    sys.stderr.flush()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def is_silent(follower: dict[str, Any], contact: Path, now: float) -> bool:
    """Whether it has run for long enough to write, and has not written. A follower that never had an answer from the
    registry has nothing to write yet."""
    if follower["state"] != _RUNNING or now - follower["start"] < SILENT_SECONDS or not contact.exists():
        return False
    return now - contact.stat().st_mtime > SILENT_SECONDS


def _contact_file() -> Path:
    serving = os.environ.get("SWITCHYARD_SERVING_FOLDER") or Path(os.environ["SWITCHYARD_STATE"]) / "serving"
    return Path(serving) / "contact.json"


if __name__ == "__main__":
    main()
