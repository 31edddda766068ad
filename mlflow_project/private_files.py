"""Files that only their owner may read, and files that several processes change. Standard library only.

Private: every program calls `keep_files_private` when it starts, so that whatever it creates (answers, indexes,
ledger records, logs) gets no rights for the group or for others. Shared: a process that reads a file, changes what it
read and writes it back does so inside `exclusive(file)`, else one of two writers at the same moment would be lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

from mlflow_project.errors import ConfigError, Refused


def keep_files_private() -> None:
    """Create files and folders for their owner alone from now on, in this process and in those that it starts."""
    os.umask(0o077)


def open_private(path: Path, mode: Literal["ab", "wb"]) -> BinaryIO:
    """Open a file to write; a new one gets rights for its owner alone."""
    return open(path, mode, opener=partial(os.open, mode=0o600))


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner can read. A reader sees the whole old file or the whole new one.

    Raises:
        ConfigError: the file cannot be written.
    """
    own = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        make_private_folder(path.parent)
        own.unlink(missing_ok=True)
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        own.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            own.unlink(missing_ok=True)
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}): is the disk full, or the folder not yours?"
        ) from error


@contextlib.contextmanager
def exclusive(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Let one process of this machine at a time change a file; the others wait, or are refused. The lock is
    `<path>.lock` beside it, which stays: whoever removed it would let two processes in.

    Raises:
        ConfigError: the lock cannot be made.
        Refused: another process has the lock, and `wait` is false.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        make_private_folder(path.parent)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(
            f"{lock} cannot be made ({error.strerror}): is the disk full, or the folder not yours?"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(f"Another process is at work on {path} already.") from error
        yield
    finally:
        os.close(descriptor)


def make_private_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, for their owner alone; `mkdir(parents=True)` would make the
    upper ones as the umask says."""
    if not folder.is_dir():
        make_private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
