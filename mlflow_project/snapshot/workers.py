"""What a worker says of itself: a heartbeat, its receipts, and the releases that it could not warm.

A worker replaces its own file; the follower reads all of them. A worker counts as alive while its process exists and
its last beat, by the clock that counts since boot, is younger than `ALIVE_SECONDS`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_project.domain.receipt import Receipt
from mlflow_project.errors import WorkspaceError
from mlflow_project.snapshot.content import RefusedRelease
from mlflow_project.snapshot.folder import read_file, replace_file

WORKER_SCHEMA = "switchyard.worker/v1"
BEAT_SECONDS = 0.5
ALIVE_SECONDS = 3.0


@dataclass(frozen=True)
class WorkerReport:
    """One worker's word. `beat` is monotonic seconds."""

    worker: str
    pid: int
    beat: float
    receipts: tuple[Receipt, ...] = ()
    refused: tuple[RefusedRelease, ...] = ()

    @property
    def alive(self) -> bool:
        return 0 <= time.monotonic() - self.beat < ALIVE_SECONDS and _exists(self.pid)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "schema": WORKER_SCHEMA,
            "worker": self.worker,
            "pid": self.pid,
            "beat": self.beat,
            "receipts": [receipt.to_dict() for receipt in self.receipts],
            "refused": [refused.to_dict() for refused in self.refused],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> WorkerReport:
        """Read what `to_dict` wrote."""
        return cls(
            data["worker"],
            data["pid"],
            data["beat"],
            tuple(Receipt.from_dict(item) for item in data["receipts"]),
            tuple(RefusedRelease(**item) for item in data["refused"]),
        )


def write_report(folder: Path, report: WorkerReport) -> None:
    """Replace this worker's file; raises OSError when the disk does not take it."""
    replace_file(folder / f"{report.worker}.json", report.to_dict())


def live_workers(folder: Path) -> Iterator[WorkerReport]:
    """The reports of the workers that are alive, by name; an unreadable file is passed over."""
    for path in sorted(folder.glob("*.json")):
        try:
            report = WorkerReport.from_dict(read_file(path))
        except (WorkspaceError, KeyError, TypeError):
            continue
        if report.alive:
            yield report


def remove_report(folder: Path, worker: str) -> None:
    """A worker that ends takes its file with it."""
    with contextlib.suppress(OSError):  # on a disk that is read-only now, its beat runs out
        (folder / f"{worker}.json").unlink()


def sweep_reports(folder: Path) -> None:
    """Delete what workers that died left behind."""
    for path in folder.glob("*.json"):
        try:
            dead = not _exists(int(read_file(path)["pid"]))
        except (WorkspaceError, KeyError, TypeError, ValueError):
            dead = True
        if dead:
            path.unlink(missing_ok=True)
            path.with_suffix(".wake").unlink(missing_ok=True)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
