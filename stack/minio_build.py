"""MinIO from its source: the Go module at the version that stack/minio/go.mod pins and go.sum verifies. Out: one binary
in the cache, put there whole by rename. Go's own caches make an interrupted build go on. Standard library only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from stack.layout import MINIO_SOURCE, minio_binary
from stack.progress import Progress
from stack.tools import Tools

PACKAGE = "github.com/minio/minio"
FLAGS = ("-trimpath", "-ldflags=-s -w")
_GO = {"CGO_ENABLED": "0"}


def build_minio(progress: Progress, tools: Tools) -> str:
    """Build it unless it is there."""
    binary = minio_binary()
    if binary.exists():
        return f"already there ({binary})"
    binary.parent.mkdir(parents=True, exist_ok=True)
    stale = _packages_to_compile(progress, tools)
    fresh = binary.with_name(f"minio.{os.getpid()}")
    counted = _counter(progress, "compiles packages", len(stale), lambda line: line in stale)
    build: list[str | os.PathLike[str]] = ["go", "build", "-v", *FLAGS, "-o", fresh, PACKAGE]
    try:
        tools.run("minio", build, cwd=MINIO_SOURCE, environment=_GO, on_line=counted)
        tools.run("minio", [fresh, "--version"])
        fresh.replace(binary)
    finally:
        fresh.unlink(missing_ok=True)
    return f"built, {binary.stat().st_size / 1e6:.0f} MB"


def _packages_to_compile(progress: Progress, tools: Tools) -> set[str]:
    """Fetch the modules that it needs, and list what is not compiled yet."""
    modules = len(re.findall(r"^\t\S+ v", (MINIO_SOURCE / "go.mod").read_text(), re.MULTILINE))
    fetched = _counter(progress, "fetches modules", modules, lambda line: line.startswith("go: downloading"))
    command = ["go", "list", "-deps", *FLAGS, "-f", "{{if .Stale}}stale {{.ImportPath}}{{end}}", PACKAGE]
    lines = tools.run("minio", command, cwd=MINIO_SOURCE, environment=_GO, on_line=fetched)
    return {line.removeprefix("stale ") for line in lines if line.startswith("stale ")}


def _counter(progress: Progress, doing: str, of: int, counts: Callable[[str], bool]) -> Callable[[str], None]:
    done = 0
    progress.now(doing, 0, of)

    def on_line(line: str) -> None:
        nonlocal done
        done += counts(line)
        progress.now(doing, min(done, of), of)

    return on_line
