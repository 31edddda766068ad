"""How a process of a stack is told from all others: by its environment, which its children inherit.

`SWITCHYARD_SUPERVISED=<state folder>` says to which stack it belongs, and supervisord's own `SUPERVISOR_PROCESS_NAME`
to which part. So a process is found by its id after every parent of it died. People's shells never carry the mark.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

import psutil

MARK = "SWITCHYARD_SUPERVISED"
_PART = "SUPERVISOR_PROCESS_NAME"


def marked(state: str) -> list[psutil.Process]:
    """Every living process of the stack with this state folder, whoever its parent is by now."""
    return [process for process in psutil.process_iter() if state_of(process) == state]


def same_stack() -> list[psutil.Process]:
    """Every living process of the stack that this process belongs to."""
    return marked(os.environ[MARK])


def state_of(process: psutil.Process) -> str | None:
    """The state folder of the stack that a process belongs to; None when it is no stack's, or cannot be asked."""
    return _environment(process).get(MARK)


def part_of(process: psutil.Process) -> str:
    """The part that a marked process belongs to; empty for the process manager itself."""
    return _environment(process).get(_PART, "")


def orphans(state: str) -> list[psutil.Process]:
    """The processes of a stack that no living process manager watches: their supervisord was killed, or the process
    that started them was."""
    family = marked(state)
    managers = {process.pid for process in family if is_manager(process)}
    return [process for process in family if process.pid not in managers and not _ancestors(process) & managers]


def is_manager(process: psutil.Process) -> bool:
    """Whether a process is a supervisord."""
    with contextlib.suppress(psutil.Error):
        return any("supervisord" in word.rpartition("/")[2] for word in process.cmdline()[:3])
    return False


def end(processes: Sequence[psutil.Process]) -> None:
    """End processes: politely, and after ten seconds by force."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
            process.resume()  # a stopped process hears nothing until it goes on
    for process in _alive_after(10, processes):
        with contextlib.suppress(psutil.Error):
            process.kill()
    _alive_after(5, processes)


def _alive_after(seconds: float, processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Wait until all have ended, at most so long. A zombie has ended: in a container nobody may collect it."""
    deadline = time.monotonic() + seconds
    while (alive := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _ancestors(process: psutil.Process) -> set[int]:
    with contextlib.suppress(psutil.Error):
        return {parent.pid for parent in process.parents()}
    return set()


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ() if process.status() != psutil.STATUS_ZOMBIE else {}
    except (psutil.Error, OSError):
        return {}
