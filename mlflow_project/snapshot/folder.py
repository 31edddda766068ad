"""The serving folder: the files that follower and workers exchange, and nothing about what they mean.

`snapshot.json` and the one before it, `contact.json` (when the registry last answered), `workers/<worker>.json` (a
worker's heartbeat and receipts), `wake` (touched by who wants the follower to look now), `indexes/<hex>/`.
Every file is replaced by rename, so a reader sees a whole old file or a whole new one. `events.sqlite` is `spool`'s.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import orjson

from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.snapshot.content import Snapshot


class ServingFolder:
    """One host's files. Writers: the follower alone, but for `workers/<worker>.json` and `wake`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.snapshot_file = path / "snapshot.json"
        self.previous_file = path / "snapshot.previous.json"
        self.contact_file = path / "contact.json"
        self.workers = path / "workers"
        self.indexes = path / "indexes"
        self.scratch = path / "scratch"
        self.wake_file = path / "wake"
        self.spool_file = path / "events.sqlite"

    def prepare(self) -> None:
        """Make the folders."""
        for folder in (self.path, self.workers, self.indexes, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)

    def index_folder(self, digest: str) -> Path:
        """Where the index of this digest (`sha256:…`) lies."""
        return self.indexes / digest.removeprefix("sha256:")

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """Put a new snapshot in place; the one it replaces stays readable as the previous one."""
        if self.snapshot_file.exists():
            spare = self.path / f"snapshot.previous.{os.getpid()}.tmp"
            spare.unlink(missing_ok=True)
            os.link(self.snapshot_file, spare)
            os.replace(spare, self.previous_file)
        replace_file(self.snapshot_file, snapshot.to_dict(), durable=True)

    def read_snapshot(self) -> Snapshot:
        """The snapshot.

        Raises:
            NotFound: the follower has not written one yet.
            InvalidData: the file is damaged.
        """
        return Snapshot.from_dict(read_file(self.snapshot_file))

    def read_previous(self) -> Snapshot:
        """The snapshot before this one; raises as `read_snapshot` does."""
        return Snapshot.from_dict(read_file(self.previous_file))

    def wake_follower(self) -> None:
        """Ask the follower to look now instead of at its next interval."""
        with contextlib.suppress(OSError):
            self.wake_file.touch()


def replace_file(path: Path, data: Any, *, durable: bool = False) -> None:
    """Replace a JSON file by rename. `durable`: survives a power cut.

    Raises:
        OSError: the disk is full or read-only; the old file is untouched.
    """
    spare = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with spare.open("wb") as file:
            file.write(orjson.dumps(data))
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(spare, path)
    except OSError:
        with contextlib.suppress(OSError):
            spare.unlink(missing_ok=True)
        raise


def read_file(path: Path) -> Any:
    """The JSON data of a file.

    Raises:
        NotFound: there is no such file.
        InvalidData: it is not JSON.
    """
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(f"There is no {path.name} in {path.parent}: has the follower run?") from error
    except (json.JSONDecodeError, OSError) as error:
        raise InvalidData(f"{path} cannot be read: {error}.") from error


def stamp(path: Path) -> tuple[int, int]:
    """What changes when a file is replaced: inode and time of change; zeros while there is none."""
    try:
        found = path.stat()
        return found.st_ino, found.st_mtime_ns
    except OSError:
        return 0, 0
