"""The Python environment: made with pip and uv from the hashed locks, then this project put on its path. Standard
library only.

A stamp, written last, says which locks it holds; so an interrupted set-up is noticed, and uv goes on with what it has.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stack.layout import ENVIRONMENT, ROOT, digest, environment_python
from stack.progress import Progress
from stack.tools import Tools

STAMP = ENVIRONMENT / ".locks.json"
LOCKS = ROOT / "requirements"

_SCRIPT = """#!{python}
import sys

from mlflow_project.commands.main import main

sys.exit(main())
"""


# pyspark's own scripts ask the first `python3` on PATH where Spark lies, so they fail unless the environment is active.
_SPARK_SCRIPT = """#!/bin/sh
SPARK_HOME="{packages}/pyspark"
PYSPARK_PYTHON="${{PYSPARK_PYTHON:-{python}}}"
export SPARK_HOME PYSPARK_PYTHON
exec "$SPARK_HOME/bin/{name}" "$@"
"""


def make_environment(groups: Sequence[str], progress: Progress, tools: Tools) -> str:
    """Bring the environment to these locks, and to those that it holds already."""
    wanted = {group: digest(LOCKS / f"{group}.txt") for group in groups}
    stamped = _stamp()
    if wanted.items() <= stamped.items() and _runs():
        put_project_on_path()
        return f"already there ({ENVIRONMENT})"
    if not _runs():
        progress.now("is made empty")
        tools.run("environment", [sys.executable, "-m", "venv", "--clear", ENVIRONMENT])
    progress.now("installs uv")
    pip: list[str | os.PathLike[str]] = [environment_python(), "-m", "pip", "install", "--quiet", "--require-hashes"]
    tools.run("environment", [*pip, "-r", LOCKS / "bootstrap.txt"])
    everything = sorted({*wanted, *(group for group in stamped if (LOCKS / f"{group}.txt").exists())})
    _synchronise(everything, progress, tools)
    put_project_on_path()
    STAMP.write_text(json.dumps({group: digest(LOCKS / f"{group}.txt") for group in everything}))
    return f"installed, {_installed()} packages"


def put_project_on_path() -> None:
    """Make `import mlflow_project`, `switchyard`, `spark-submit` and `spark-sql` work from everywhere."""
    packages = Path(_ask("import sysconfig; print(sysconfig.get_path('purelib'))"))
    _write(packages / "switchyard.pth", f"{ROOT}\n")
    _write(ENVIRONMENT / "bin" / "switchyard", _SCRIPT.format(python=environment_python()))
    for name in ("spark-submit", "spark-sql"):
        text = _SPARK_SCRIPT.format(packages=packages, python=environment_python(), name=name)
        _write(ENVIRONMENT / "bin" / name, text)


def _synchronise(groups: Sequence[str], progress: Progress, tools: Tools) -> None:
    locks = [LOCKS / f"{group}.txt" for group in groups]
    names = {name for lock in locks for name in re.findall(r"^([A-Za-z0-9_.-]+)", lock.read_text(), re.MULTILINE)}
    uv: list[str | os.PathLike[str]] = [
        ENVIRONMENT / "bin" / "uv",
        "pip",
        "sync",
        "--python",
        environment_python(),
        "--require-hashes",
    ]
    progress.now(f"fetches up to {len(names)} packages")

    def count(line: str) -> None:
        if line.startswith("Prepared"):
            progress.now(f"installs up to {len(names)} packages")

    tools.run("environment", [*uv, LOCKS / "bootstrap.txt", *locks], on_line=count)


def _stamp() -> dict[str, str]:
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError):
        return {}


def _runs() -> bool:
    """Whether the environment's Python starts, and is the version that this set-up runs on or another supported one."""
    try:
        return _ask("import sys; print((3, 11) <= sys.version_info[:2] <= (3, 12))") == "True"
    except (OSError, subprocess.CalledProcessError):
        return False


def _ask(program: str) -> str:
    done = subprocess.run([environment_python(), "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _installed() -> int:
    return len(list((ENVIRONMENT / "lib").glob("python*/site-packages/*.dist-info")))


def _write(path: Path, text: str) -> None:
    """Replace by rename: what a package installed may share its bytes with the installer's cache."""
    if path.exists() and path.read_text() == text:
        return
    own = path.with_name(f".{path.name}.{os.getpid()}")
    own.write_text(text)
    own.chmod(0o755 if path.parent.name == "bin" else 0o644)
    own.replace(path)
