"""What this machine has and lacks: tools, disk; and, where the environment is installed, ports, settings and the parts.

Out: a list of checks, each with what was found, what is wanted, and what to type. The first half needs the standard
library only, and runs on a Python that is too old for the rest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from mlflow_project.errors import ConfigError
from stack.check import Check
from stack.layout import MINIO_SOURCE, ROOT, environment_python, jar_folder, minio_binary

PYTHONS = ((3, 11), (3, 12))
JAVA = 17
GIGABYTES_TO_SET_UP = 8
GIGABYTES_TO_RUN = 1


def examine() -> list[Check]:
    """Every check, the machine's first."""
    checks = [python(), java(), go(), make(), disk(), installed()]
    try:
        from stack.doctor_of_parts import examine_parts
    except ImportError:
        return checks
    return [*checks, *examine_parts()]


def require(*names: str) -> None:
    """Hold this machine to some of the checks.

    Raises:
        ConfigError: one or more fail; a line each.
    """
    by_name = {"python": python, "java": java, "go": go, "make": make, "disk": disk}
    failed = [check for check in (by_name[name]() for name in names) if not check.ok]
    if failed:
        lines = [f"  {check.check}: found {check.found}, wanted {check.wanted}. {check.fix}" for check in failed]
        raise ConfigError("\n".join(["This machine lacks something; nothing was begun:", *lines]))


def python() -> Check:
    """The Python that runs this."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    fix = "Install Python 3.11 or 3.12 (Debian: apt-get install python3 python3-venv)."
    return _check("python", sys.version_info[:2] in PYTHONS, found, "3.11 or 3.12", fix)


def java() -> Check:
    """The Java that Spark would take: JAVA_HOME's, or the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    said = _ask(str(Path(home) / "bin" / "java") if home else "java", "-version")
    match = re.search(r'version "(?:1\.)?(\d+)', said or "")
    fix = "Install a JDK or JRE of 17 or newer (Debian: apt-get install openjdk-17-jre-headless)"
    fix += f", or mend JAVA_HOME, which is {home}." if home else "."
    return _check("java", bool(match) and int(match[1]) >= JAVA if match else False, _first(said), "17 or newer", fix)


def go() -> Check:
    """Go, which builds MinIO once; not needed any more when it is built."""
    needed = _version(re.search(r"^go (\S+)", (MINIO_SOURCE / "go.mod").read_text(), re.MULTILINE))
    wanted = f"{needed[0]}.{needed[1]} or newer"
    if minio_binary().exists():
        return _check("go", True, "not needed: MinIO is built", wanted, "")
    said = _ask("go", "version")
    have = _version(re.search(r"go(\d[\d.]*)", said or ""))
    return _check("go", have >= needed, _first(said), wanted, "Install Go from your system or from go.dev/dl.")


def make() -> Check:
    """make, for the two commands."""
    said = _ask("make", "--version")
    return _check("make", said is not None, _first(said), "any", "Install make (Debian: apt-get install make).")


def disk() -> Check:
    """Free space where the repository lies."""
    wanted = GIGABYTES_TO_RUN if jar_folder().exists() else GIGABYTES_TO_SET_UP
    free = shutil.disk_usage(ROOT).free / 1e9
    return _check(
        "disk", free >= wanted, f"{free:.1f} GB free", f"{wanted} GB", f"Free some space on the disk of {ROOT}."
    )


def installed() -> Check:
    """Whether set-up was done."""
    parts = {"environment": environment_python(), "minio": minio_binary(), "jars": jar_folder()}
    missing = [name for name, path in parts.items() if not path.exists()]
    found = f"missing: {', '.join(missing)}" if missing else "complete"
    return _check(
        "set-up", not missing, found, "complete", "Type `make setup` (`make demo` and `make test` do it too)."
    )


def _check(name: str, ok: bool, found: str, wanted: str, fix: str) -> Check:
    return Check(name, ok, found, wanted, "" if ok else fix)


def _ask(*command: str) -> str | None:
    """What a tool says; None when there is none that runs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=MINIO_SOURCE)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else None


def _first(said: str | None) -> str:
    return said.splitlines()[0] if said else "none that runs"


def _version(match: re.Match[str] | None) -> tuple[int, int]:
    parts = [*match[1].split("."), "0"] if match else ["0", "0"]
    return int(parts[0]), int(parts[1])
