"""The process manager, supervisord: start it, speak with it, and find what it left behind.

supervisord listens on a Unix socket in a short private folder (a socket's path may have 107 bytes). Every process below
it carries the stack's mark (see `marks`), so `down` finds all of them even when supervisord itself was killed.
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
from stack.layout import ENVIRONMENT, SUPERVISOR_FILE
from stack.marks import MARK, end, marked, orphans

STOP_SECONDS = 170.0
"""The longest that a stop may take: a server finishes its requests, and a provider may need two minutes for one."""


class Supervisor:
    """The supervisord of one state folder, or another one beside it with its own file and socket (Airflow's, and that
    of Prometheus and the collector)."""

    def __init__(self, state: Path, file: Path = SUPERVISOR_FILE, socket: str = "socket") -> None:
        self.state = state
        self.file = file
        name = hashlib.sha256(str(state).encode()).hexdigest()[:12]
        self.folder = Path(tempfile.gettempdir()) / f"switchyard-{os.getuid()}-{name}"
        self.socket = self.folder / socket

    def processes(self) -> dict[str, dict[str, Any]]:
        """Return what supervisord says of each part, by the part's name; empty when supervisord does not run."""
        try:
            with self._proxy() as proxy:
                return {row["name"]: row for row in proxy.supervisor.getAllProcessInfo()}
        except (OSError, Fault):
            return {}

    def launch(self, environment: Mapping[str, str], *, cwd: Path | None = None) -> None:
        """Start supervisord, which puts itself in the background; its parts wait for `start`.

        Raises:
            Unavailable: it does not come up.
        """
        self._private_folder()
        (self.state / "logs").mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.file)]
        own = {
            **environment,
            MARK: str(self.state),
            "SWITCHYARD_SOCKET": str(self.socket),
            "SWITCHYARD_BIN": str(ENVIRONMENT / "bin"),
        }
        done = subprocess.run(
            command, env=own, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, umask=0o077
        )
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
        """Stop this supervisord and its parts, and nothing else. Returns whether it ran."""
        if not self.processes():
            return False
        with self._proxy() as proxy:
            proxy.supervisor.shutdown()
        return _until(lambda: not self.socket.exists(), STOP_SECONDS)

    def stop(self) -> int:
        """Stop every part and supervisord, then, by id, every process that still carries the stack's mark. Returns how
        many processes there were."""
        before = {process.pid for process in self.marked()}
        with contextlib.suppress(OSError, Fault), self._proxy() as proxy:
            proxy.supervisor.shutdown()
        _until(lambda: not self.marked() or not self.processes(), STOP_SECONDS)
        _until(lambda: not self.marked(), 2)
        end(self.marked())
        self.socket.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        return len(before)

    def marked(self) -> list[psutil.Process]:
        """Return every living process of this stack, whoever its parent is by now."""
        return marked(str(self.state))

    def orphans(self) -> list[psutil.Process]:
        """Return the processes of this stack that no living supervisord watches."""
        return orphans(str(self.state))

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


def _until(holds: Any, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
