"""The process manager: start it, speak with it, and find what it left behind.

supervisord listens on a Unix socket in a short private folder (a socket's path may have 107 bytes). Every process below
it carries `SWITCHYARD_SUPERVISED=<state folder>` in its environment, so that `down` finds all of them by their ids even
when supervisord itself was killed. People's own shells never carry that mark.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport

from mlflow_project.errors import ConfigError, Unavailable
from stack.layout import SUPERVISOR_FILE

MARK = "SWITCHYARD_SUPERVISED"
STOP_SECONDS = 170.0
"""At the most: a server finishes its requests first, which a provider may take two minutes for."""


class Supervisor:
    """The supervisord of one state folder; or a second one beside it, with a file and a socket of its own."""

    def __init__(self, state: Path, file: Path = SUPERVISOR_FILE, socket: str = "socket") -> None:
        self.state = state
        self.file = file
        name = hashlib.sha256(str(state).encode()).hexdigest()[:12]
        self.folder = Path(tempfile.gettempdir()) / f"switchyard-{os.getuid()}-{name}"
        self.socket = self.folder / socket

    def processes(self) -> dict[str, dict[str, Any]]:
        """What supervisord says of each part, by name; empty when it does not run."""
        try:
            with self._proxy() as proxy:
                return {row["name"]: row for row in proxy.supervisor.getAllProcessInfo()}
        except (OSError, Fault):
            return {}

    def launch(self, environment: Mapping[str, str]) -> None:
        """Start supervisord, which puts itself in the background; its parts wait for `start`.

        Raises:
            Unavailable: it does not come up.
        """
        self._private_folder()
        (self.state / "logs").mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.file)]
        own = {**environment, MARK: str(self.state), "SWITCHYARD_SOCKET": str(self.socket)}
        done = subprocess.run(command, env=own, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode or not self._answers_within(10):
            raise Unavailable(
                f"The process manager does not start: {(done.stderr or done.stdout).strip() or 'no answer'} "
                f"(its log: {self.state}/logs/supervisord.log)."
            )

    def start(self, part: str) -> None:
        """Start one part unless it runs, without waiting for it."""
        with self._proxy() as proxy, contextlib.suppress(Fault):
            proxy.supervisor.startProcess(part, False)

    def halt(self, part: str) -> None:
        """Stop one part, which may finish what it does."""
        with self._proxy() as proxy, contextlib.suppress(Fault):
            proxy.supervisor.stopProcess(part)

    def restart(self, part: str) -> None:
        """Stop one part, and start it again."""
        self.halt(part)
        self.start(part)

    def shut_down(self) -> bool:
        """Stop this supervisord with its parts, and nothing else; whether it ran."""
        if not self.processes():
            return False
        with self._proxy() as proxy:
            proxy.supervisor.shutdown()
        return _until(lambda: not self.socket.exists(), STOP_SECONDS)

    def stop(self) -> int:
        """Stop every part and supervisord, then, by id, whatever still carries our mark. How many that were."""
        before = {process.pid for process in self.marked()}
        with contextlib.suppress(OSError, Fault), self._proxy() as proxy:
            proxy.supervisor.shutdown()
        _until(lambda: not self.marked() or not self.processes(), STOP_SECONDS)
        _until(lambda: not self.marked(), 2)
        _end(self.marked())
        self.socket.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        return len(before)

    def marked(self) -> list[psutil.Process]:
        """Every living process of this stack, whoever its parent is by now."""
        return [process for process in psutil.process_iter() if _mark(process) == str(self.state)]

    @contextlib.contextmanager
    def _proxy(self) -> Iterator[Any]:
        if not self.socket.exists():
            raise FileNotFoundError(self.socket)
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        try:
            yield ServerProxy("http://127.0.0.1", transport=transport)
        finally:
            transport.close()

    def _answers_within(self, seconds: float) -> bool:
        return _until(lambda: bool(self.processes()), seconds)

    def _private_folder(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        found = self.folder.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise ConfigError(
                f"{self.folder} is not a private folder of yours: remove it, or set TMPDIR to another place."
            )
        self.socket.unlink(missing_ok=True)


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK) if process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, OSError):
        return None


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def _until(holds: Any, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
