"""Named pipes that wake a process of this host: the follower wakes its workers, and others wake the follower.

The process that sleeps makes the pipe and waits for a byte in it; whoever wants to wake it writes one. What has changed
is never in the pipe: the woken process looks at the files. So a lost byte delays a process until its next look and
does nothing else, and several bytes at once are one call to look.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat
from pathlib import Path

logger = logging.getLogger(__name__)


class WakePipe:
    """The reading end, for the process that sleeps. Where the folder cannot be written, only `ring` wakes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            if path.exists() and not path.is_fifo():
                path.unlink()
            with contextlib.suppress(FileExistsError):
                os.mkfifo(path, 0o600)
            # Reading and writing: a pipe that had a writer, and has none any more, would else be readable for ever.
            self._reader = self._writer = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            logger.warning("nobody can wake this process", extra={"path": str(path), "error": str(error)})
            self._reader, self._writer = os.pipe2(os.O_NONBLOCK) if hasattr(os, "pipe2") else os.pipe()

    def fileno(self) -> int:
        """For event loops: readable when somebody calls."""
        return self._reader

    def wait(self, seconds: float) -> bool:
        """Sleep until somebody calls, and at most so long. Returns whether somebody did."""
        readable, _, _ = select.select([self._reader], [], [], max(0.0, seconds))
        if readable:
            self.clear()
        return bool(readable)

    def clear(self) -> None:
        """Take all calls so far as heard."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                continue

    def ring(self) -> None:
        """Wake this process, from another thread or a signal handler."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\n")

    def close(self, *, remove: bool = False) -> None:
        """Close the pipe. `remove` takes its name away too: nobody makes it again."""
        for end in {self._reader, self._writer}:
            os.close(end)
        if remove:
            with contextlib.suppress(OSError):
                self._path.unlink()


def wake(path: Path) -> None:
    """Wake the process that sleeps on a pipe. Nothing happens where there is no pipe, or nobody reads it."""
    with contextlib.suppress(OSError):
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            if stat.S_ISFIFO(os.fstat(pipe).st_mode):
                os.write(pipe, b"\n")
        finally:
            os.close(pipe)
