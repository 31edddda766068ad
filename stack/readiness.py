"""Whether each part is ready, by asking it something that it can only answer when it works."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from mlflow_project.snapshot.contact import read_contact
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.snapshot.guard_file import guard_looks

PARTS = ("minio", "mlflow", "follower", "server", "guard", "console")
"""In the order in which they are started."""

PATIENCE: Mapping[str, float] = {"minio": 30, "mlflow": 120, "follower": 60, "server": 60, "guard": 60, "console": 60}
"""Seconds until a part that is not ready counts as failed; MLflow makes its tables on the first start."""


def addresses(environment: Mapping[str, str]) -> dict[str, str]:
    """Where each part is found, for people."""
    return {
        "minio": environment["SWITCHYARD_S3_ENDPOINT"],
        "mlflow": environment["SWITCHYARD_MLFLOW_URI"],
        "follower": "",
        "server": environment["SWITCHYARD_API_URL"],
        "guard": "",
        "console": environment.get("SWITCHYARD_CONSOLE_URL", ""),
    }


def is_ready(part: str, environment: Mapping[str, str]) -> bool:
    """Ask one part, once."""
    at = addresses(environment)[part]
    asks: dict[str, Callable[[], bool]] = {
        "minio": lambda: _answers(f"{at}/minio/health/live"),
        # /health is green even when MLflow's database cannot be reached; a search is not.
        "mlflow": lambda: _answers(f"{at}/api/2.0/mlflow/registered-models/search?max_results=1"),
        "follower": lambda: _follows(Path(environment["SWITCHYARD_STATE"]) / "serving"),
        "server": lambda: _answers(f"{at}/health/ready"),
        "console": lambda: _answers(f"{at}/health/live"),
        "guard": lambda: guard_looks(ServingFolder(Path(environment["SWITCHYARD_STATE"]) / "serving")),
    }
    return asks[part]()


def wait_until_ready(part: str, environment: Mapping[str, str], alive: Callable[[], bool]) -> float | None:
    """Seconds until the part was ready; None when it died for good, or its patience ran out."""
    began = time.monotonic()
    while not is_ready(part, environment):
        if not alive() or time.monotonic() - began > PATIENCE[part]:
            return None
        time.sleep(0.05)
    return time.monotonic() - began


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _follows(serving_folder: Path) -> bool:
    contact = read_contact(ServingFolder(serving_folder).contact_file)
    return contact is not None and contact.fresh
