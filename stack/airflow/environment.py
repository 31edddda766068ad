"""Airflow's Python environment, `.venv-airflow`, made from the hashed lock. In: the lock. Out: the folder of programs.

A stamp with the lock's digest is written last: an interrupted set-up starts again, a finished one is found.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from mlflow_project.errors import Unavailable

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "airflow.txt"
ENVIRONMENT = ROOT / ".venv-airflow"
STAMP = ENVIRONMENT / "lock.sha256"


def programs() -> Path:
    """Where `airflow` lies."""
    return ENVIRONMENT / "bin"


def is_ready() -> bool:
    """Whether the environment holds exactly what the lock says."""
    return STAMP.is_file() and STAMP.read_text() == _wanted()


def set_up() -> bool:
    """Make or renew the environment; False if it was there already.

    Raises:
        Unavailable: a package could not be had.
    """
    if is_ready():
        return False
    uv = Path(sys.executable).with_name("uv")
    STAMP.unlink(missing_ok=True)
    if not (programs() / "python").exists():
        _run([uv, "venv", "--quiet", "--python", sys.executable, ENVIRONMENT])
    _run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", programs() / "python", LOCK])
    STAMP.write_text(_wanted())
    return True


def _wanted() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def _run(command: list[str | Path]) -> None:
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise Unavailable(
            f"Airflow's environment could not be made (`{' '.join(map(str, command[:3]))}` failed, see above): "
            "is the package index reachable? Run the same command again; it resumes."
        )
