"""Finds workers of the server that run and say nothing: stopped, or with an event loop that stands still.

Each worker's event loop replaces the worker's report twice a second. A report that grew old while its process lives
means that the loop stands still.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from mlflow_project.errors import WorkspaceError
from mlflow_project.snapshot.folder import read_file
from mlflow_project.snapshot.workers import WorkerReport

TICK_SECONDS = 5
"""How often supervisord asks the watchdog."""


def silent_workers(reports: Path, server: int, silence_seconds: float) -> Iterator[int]:
    """The process ids of silent workers among the processes of the server with this id.

    A worker is named one tick early, so that it is replaced within `silence_seconds`.
    """
    patience = max(silence_seconds - TICK_SECONDS, silence_seconds / 2)
    try:
        parent = psutil.Process(server)
        processes = {process.pid: process for process in (parent, *parent.children())}
    except psutil.Error:
        return
    for path in reports.glob("*.json"):
        try:
            report = WorkerReport.from_dict(read_file(path))
            is_old = time.monotonic() - report.beat > patience
            wrote_it = report.pid in processes and processes[report.pid].create_time() < path.stat().st_mtime
        except (WorkspaceError, KeyError, TypeError, OSError, psutil.Error):
            continue
        if is_old and wrote_it:
            yield report.pid
