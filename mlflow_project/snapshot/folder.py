"""The serving folder: the files that follower and workers exchange. Reads and replaces them.

Every file is replaced by rename, so a reader sees either the old or the new content. Who reads which file, and who
checks it when:

- `snapshot.json`: written by the follower, read by workers and by a new follower. A reader checks digest and seal of
  a release before it serves the release. At every look the follower compares time stamp and size with what it wrote,
  every five seconds all bytes, and writes the file again if they differ.
- `snapshot.previous.json`, `snapshot.older.json`: the two snapshots before it, for readers that find it damaged. They
  are checked in the same way.
- `contact.json`: when the registry last answered. Only its form is checked: it decides `X-Release-Stale`, nothing else.
- `workers/<worker>.json`: a worker's heartbeat and receipts, read by the follower, which checks their form.
- `wake`, `receipts.wake`, `workers/<worker>.wake`: named pipes (see `wake`). A byte in one makes the follower look now,
  makes it read the workers' receipts now, makes that worker look now. Nothing in them is read.
- `indexes/<hex>/`: search indexes. A worker that warms a release copies the files, checks the digest of each copy and
  never reads `indexes/` again. The follower looks at time stamps and sizes once a second, checks every digest when it
  starts and hourly, and fetches a changed index again.
- `models/<hex>/`: the sealed files of models, by the digest of the release. A worker that warms a model checks the
  digest of each file, and makes the model from the bytes that it has checked. The follower checks them as it checks
  indexes.
- `scratch/<worker>/`: those copies. They lose their names as soon as they are open.
- `usage/*.json`, `events.sqlite`: counts for limits, and events to upload. Their form is checked.
- `counts/<run>.json`: a worker's counts of requests by release and arm (see `arm_counts`), which the follower
  publishes for the guard.
- `guard.json`: shows that this host's guard is at work. Only its time stamp is read.

Template, provider, schema and prices are part of the manifest in `snapshot.json`. A worker keeps the manifest that it
has checked in memory and never reads it again.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.private_files import make_private_folder
from mlflow_project.snapshot.content import Snapshot
from mlflow_project.snapshot.wake import wake


class ServingFolder:
    """One host's files. Only the follower writes, except what the module's list says of workers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.snapshot_file = path / "snapshot.json"
        self.previous_file = path / "snapshot.previous.json"
        self.older_file = path / "snapshot.older.json"
        self.contact_file = path / "contact.json"
        self.workers = path / "workers"
        self.indexes = path / "indexes"
        self.models = path / "models"
        self.counts = path / "counts"
        self.guard_file = path / "guard.json"
        self.scratch = path / "scratch"
        self.wake_pipe = path / "wake"
        self.receipts_pipe = path / "receipts.wake"
        self.spool_file = path / "events.sqlite"
        self._written = b""
        self._stamp: tuple[int, ...] = ()

    def prepare(self) -> None:
        """Make the folders."""
        for folder in (self.path, self.workers, self.indexes, self.models, self.scratch):
            make_private_folder(folder)

    def index_folder(self, digest: str) -> Path:
        """The folder of the index with this digest (`sha256:…`)."""
        return self.indexes / digest.removeprefix("sha256:")

    def model_folder(self, digest: str) -> Path:
        """Where the files of the release of this digest (`sha256:…`) lie, if it is a model."""
        return self.models / digest.removeprefix("sha256:")

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """Put a new snapshot in place, and keep the two before it.

        The present content is kept only if this object wrote it or `vouch` was called for it. So a file that somebody
        else changed never becomes a last known good.
        """
        if self.holds(every_byte=True):
            spare = self.path / f"snapshot.previous.{os.getpid()}.tmp"
            spare.unlink(missing_ok=True)
            os.link(self.snapshot_file, spare)
            if self.previous_file.exists():
                os.replace(self.previous_file, self.older_file)
            os.replace(spare, self.previous_file)
        data = orjson.dumps(snapshot.to_dict())
        _replace(self.snapshot_file, data, durable=True)
        self._written, self._stamp = data, _stamp_and_size(self.snapshot_file)
        self.wake_workers()

    def vouch(self) -> None:
        """Treat the present content of `snapshot.json` as written by this object. The caller has verified it."""
        self._written, self._stamp = self.snapshot_file.read_bytes(), _stamp_and_size(self.snapshot_file)

    def holds(self, *, every_byte: bool = False) -> bool:
        """Whether `snapshot.json` is still what this object wrote: by time stamp and size, or byte by byte."""
        seen = _stamp_and_size(self.snapshot_file)
        if not seen or self._stamp != seen:  # the file is missing or was changed
            return False
        try:
            return not every_byte or self.snapshot_file.read_bytes() == self._written
        except OSError:
            return False

    def read_snapshot(self) -> Snapshot:
        """The snapshot.

        Raises:
            NotFound: the follower has not written one yet.
            InvalidData: the file is damaged.
        """
        return Snapshot.from_dict(read_file(self.snapshot_file))

    def read_earlier(self) -> Iterator[Snapshot]:
        """The snapshots before this one that can be read, the newest first."""
        for path in (self.previous_file, self.older_file):
            with contextlib.suppress(InvalidData, NotFound):
                yield Snapshot.from_dict(read_file(path))

    def wake_follower(self) -> None:
        """Make the follower look now instead of at its next interval."""
        wake(self.wake_pipe)

    def wake_workers(self) -> None:
        """Make every worker look at snapshot and contact now."""
        for pipe in self.workers.glob("*.wake"):
            wake(pipe)

    def pipe_of(self, worker: str) -> Path:
        """The pipe that wakes one worker."""
        return self.workers / f"{worker}.wake"


def replace_file(path: Path, data: Any) -> None:
    """Replace a JSON file by rename.

    Raises:
        OSError: the disk is full or read-only; the old file is untouched.
    """
    _replace(path, orjson.dumps(data))


def _replace(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Replace a file by rename. `durable`: survives a power cut."""
    spare = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with spare.open("wb") as file:
            file.write(data)
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


MISSING = (0, 0)
"""The stamp of a file that does not exist."""


def stamp(path: Path) -> tuple[int, int]:
    """Inode and time of change, which differ after a file was replaced; `MISSING`: there is no file."""
    try:
        found = path.stat()
        return found.st_ino, found.st_mtime_ns
    except OSError:
        return MISSING


def _stamp_and_size(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size
    except OSError:
        return ()
