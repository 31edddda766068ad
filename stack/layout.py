"""Where things lie: the repository, its environment, the cache that clones share. Standard library only.

What is cached is named by the digest of what it is made from, so a changed pin never meets an old build.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
MINIO_SOURCE = ROOT / "stack" / "minio"
JAR_LIST = ROOT / "stack" / "jars" / "jars.txt"
SUPERVISOR_FILE = ROOT / "stack" / "supervisord.conf"


def cache_folder() -> Path:
    """What every clone on this machine shares."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "switchyard"


def minio_binary() -> Path:
    """The built MinIO; it may not be there yet."""
    return built_binary("minio", MINIO_SOURCE / "go.mod", MINIO_SOURCE / "go.sum")


def built_binary(name: str, *made_from: Path) -> Path:
    """Where a binary that is built from these files lies, for this kind of machine."""
    return cache_folder() / name / f"{digest(*made_from)}-{sysconfig.get_platform()}" / name


def jar_folder() -> Path:
    """The folder of jars for Spark; it may not be there yet."""
    return cache_folder() / "jars" / digest(JAR_LIST)


def digest(*files: Path) -> str:
    """The first 16 hex digits of the SHA-256 of some files' bytes."""
    sha = hashlib.sha256()
    for file in files:
        sha.update(file.read_bytes())
    return sha.hexdigest()[:16]


def environment_python() -> Path:
    """The environment's own Python."""
    return ENVIRONMENT / "bin" / "python"
