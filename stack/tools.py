"""Runs the tools of set-up (go, uv, java): their output goes to a log, line by line to whoever counts it, and its end
into the sentence when one fails. Standard library only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mlflow_project.errors import Unavailable


class Tools:
    """One set-up's running tools; `interrupt` ends all of them."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._interrupted = False

    def run(
        self,
        step: str,
        command: Sequence[str | os.PathLike[str]],
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] = lambda _: None,
    ) -> list[str]:
        """Run a tool to its end; its lines.

        Raises:
            Unavailable: it failed or was interrupted; the message has its last lines.
        """
        lines: list[str] = []
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{step}.log").open("a", encoding="utf-8") as log:
            process = self._begin(command, cwd, {**os.environ, **(environment or {})})
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                lines.append(line.rstrip())
                on_line(lines[-1])
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        if code:
            raise Unavailable(self._failure(step, command, code, lines))
        return lines

    def interrupt(self) -> None:
        """End every running tool with its children; later ones do not start."""
        with self._lock:
            self._interrupted = True
            for process in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)

    def _begin(
        self, command: Sequence[str | os.PathLike[str]], cwd: Path | None, environment: dict[str, str]
    ) -> subprocess.Popen[str]:
        with self._lock:
            if self._interrupted:
                raise Unavailable("interrupted")
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running.add(process)
            return process

    def _failure(self, step: str, command: Sequence[str | os.PathLike[str]], code: int, lines: Sequence[str]) -> str:
        if self._interrupted:
            return "interrupted"
        tail = "\n    ".join(lines[-12:])
        full = " No space is left on the disk: free some and run again." if "No space left" in tail else ""
        return (
            f"`{Path(command[0]).name} {command[1]}` ended with exit code {code}.{full} "
            f"Its last lines ({self._logs}/{step}.log has all):\n    {tail}"
        )
