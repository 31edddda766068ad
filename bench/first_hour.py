"""What the first hour with Switchyard costs: the time of each command of README, and what lies on the disk afterwards.

`python -m bench.first_hour [--cold] [--folder FOLDER] [STEP ...]`, in a clone of its own with free ports. Steps:
`setup`, `demo`, `demo-again`, `observe`, `observe-again`, `airflow`; by default all. With `--cold` the clone has empty
caches of its own, as on a new machine. A folder that is named is kept, so that a later call can do the next step.
Processor time counts what a command itself runs, not the servers that it leaves running.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.report import Measure, report
from stack.layout import ROOT
from stack.ports import free_port

STEPS: Mapping[str, tuple[str, ...]] = {
    "setup": ("make setup",),
    "demo": ("make demo",),
    "demo-again": ("make demo",),
    "observe": ("make observe",),
    "observe-again": ("make observe-down", "make observe"),
    "airflow": ("make airflow",),
}
"""What each step runs. The last command is measured."""
PORTS = ("MINIO", "MINIO_CONSOLE", "MLFLOW", "API", "CONSOLE", "PROMETHEUS", "OTLP", "COLLECTOR_HEALTH", "AIRFLOW")
GO_CACHES = {"go-build": "GOCACHE", "go-modules": "GOMODCACHE"}
CACHES = {"uv": "UV_CACHE_DIR", **GO_CACHES}
"""Folder of each tool's cache, and the variable that names it to the tool."""


def main() -> None:
    """Run the steps, measure, and stop everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP")
    parser.add_argument("--cold", action="store_true", help="empty caches, as on a new machine")
    parser.add_argument("--folder", type=Path, help="where clone and caches are kept for a later call")
    given = parser.parse_args()
    if unknown := set(given.steps) - set(STEPS):
        parser.error(f"There is no step {', '.join(sorted(unknown))}. There are: {', '.join(STEPS)}.")
    with _folder(given.folder) as folder:
        environment = _environment(folder, cold=given.cold)
        clone = _clone(folder)
        measures: list[Measure] = []
        try:
            for step in given.steps or STEPS:
                measures += _measured(step, clone, environment, cold=given.cold)
            measures += [*_sizes(clone, folder, cold=given.cold), *_memory(clone, environment)]
        finally:
            _run("make down", clone, environment)
    report("first_hour", measures, part=True)


def _measured(step: str, clone: Path, environment: Mapping[str, str], *, cold: bool) -> Iterator[Measure]:
    *before, command = STEPS[step]
    for one in before:
        _run(one, clone, environment)
    began, used = time.monotonic(), _processor_seconds()
    _run(command, clone, environment)
    name = f"`{command}`" + (" again" if step.endswith("-again") else "") + (", empty caches" if cold else "")
    yield Measure(name, time.monotonic() - began, "s")
    yield Measure(f"{name}: processor time", _processor_seconds() - used, "s")


def _sizes(clone: Path, folder: Path, *, cold: bool) -> Iterator[Measure]:
    found = {".venv": clone / ".venv", ".venv-airflow": clone / ".venv-airflow"}
    if cold:  # otherwise the caches hold other projects' files too
        found |= {f"cache {name}": folder / "cache" / name for name in (*CACHES, "switchyard")}
    sizes = {name: _megabytes(path) for name, path in found.items() if path.exists()}
    if cold:
        sizes["Go's caches"] = sum(sizes.pop(f"cache {name}", 0.0) for name in GO_CACHES)
    for name, megabytes in sizes.items():
        yield Measure(f"disk: {name}", megabytes, "MB")


def _megabytes(path: Path) -> float:
    size = subprocess.run(["du", "-sk", path], capture_output=True, text=True, check=True).stdout
    return int(size.split()[0]) / 1000


def _memory(clone: Path, environment: Mapping[str, str]) -> Iterator[Measure]:
    command = [clone / ".venv" / "bin" / "python", "-m", "stack", "status", "--json"]
    told = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False).stdout
    rows = {row["part"]: row["memory_mb"] for row in json.loads(told) if row["memory_mb"]}
    for part, megabytes in rows.items():
        yield Measure(f"memory: {part}", megabytes, "MB")
    if {"minio", "mlflow", "follower", "server", "guard", "console"} == set(rows):
        yield Measure("memory: all parts", sum(rows.values()), "MB")


def _environment(folder: Path, *, cold: bool) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SWITCHYARD_", "LLM_API_"))}
    own |= {f"SWITCHYARD_{name}_PORT": str(free_port()) for name in PORTS}
    if cold:
        own |= {variable: str(folder / "cache" / name) for name, variable in CACHES.items()}
        own |= {"XDG_CACHE_HOME": str(folder / "cache")}
    return own


def _clone(folder: Path) -> Path:
    clone = folder / "clone"
    if not clone.exists():
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    return clone


def _run(command: str, clone: Path, environment: Mapping[str, str]) -> None:
    sys.stderr.write(f"$ {command}\n")
    subprocess.run(command.split(), cwd=clone, env=environment, check=True)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def _folder(named: Path | None) -> Iterator[Path]:
    if named is not None:
        named.mkdir(parents=True, exist_ok=True)
        yield named.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="switchyard-first-hour-") as folder:
        yield Path(folder)
        # Go writes its modules read-only, so that Python could not remove them.
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)


if __name__ == "__main__":
    main()
