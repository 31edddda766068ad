"""A file in the serving folder that shows that this host's guard is at work. It is replaced every few seconds."""

from __future__ import annotations

import contextlib
import os
import time

from mlflow_project.private_files import make_private_folder
from mlflow_project.snapshot.folder import ServingFolder, replace_file

WRITE_SECONDS = 5.0
FRESH_SECONDS = 60.0
"""Longer than a step with its receipts takes."""


def say_guard_looks(folder: ServingFolder, *, leads: bool) -> None:
    """Note that the guard is at work, and whether it is the one that watches. A full disk stops no guard."""
    with contextlib.suppress(OSError):
        make_private_folder(folder.path)
        replace_file(folder.guard_file, {"pid": os.getpid(), "leads": leads})


def guard_looks(folder: ServingFolder) -> bool:
    """Whether the guard of this host has noted that lately."""
    try:
        return time.time() - folder.guard_file.stat().st_mtime < FRESH_SECONDS
    except OSError:
        return False
