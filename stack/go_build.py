"""A program from its Go module, at the versions that its go.mod pins and its go.sum verifies. Out: one binary in the
cache, put there whole by rename. Go's own caches make an interrupted build go on. Standard library only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stack.progress import Progress
from stack.tools import Tools

FLAGS = ("-trimpath", "-ldflags=-s -w")
_GO = {"CGO_ENABLED": "0"}


@dataclass(frozen=True)
class GoProgram:
    """What is built: a package, seen from the folder of its go.mod, into a binary that answers `--version`."""

    source: Path
    package: str
    binary: Path
    tags: str = ""

    @property
    def name(self) -> str:
        return self.binary.name

    @property
    def flags(self) -> tuple[str, ...]:
        return (*FLAGS, f"-tags={self.tags}")


def build(program: GoProgram, progress: Progress, tools: Tools) -> str:
    """Build it unless it is there."""
    binary = program.binary
    if binary.exists():
        return f"already there ({binary})"
    binary.parent.mkdir(parents=True, exist_ok=True)
    stale = _packages_to_compile(program, progress, tools)
    fresh = binary.with_name(f"{program.name}.{os.getpid()}")
    counted = _counter(progress, "compiles packages", len(stale), lambda line: line in stale)
    command: list[str | os.PathLike[str]] = ["go", "build", "-v", *program.flags, "-o", fresh, program.package]
    try:
        tools.run(program.name, command, cwd=program.source, environment=_GO, on_line=counted)
        tools.run(program.name, [fresh, "--version"])
        fresh.replace(binary)
    finally:
        fresh.unlink(missing_ok=True)
    return f"built, {binary.stat().st_size / 1e6:.0f} MB"


def _packages_to_compile(program: GoProgram, progress: Progress, tools: Tools) -> set[str]:
    """Fetch the modules that it needs, and list what is not compiled yet."""
    modules = len(re.findall(r"^\t\S+ v", (program.source / "go.mod").read_text(), re.MULTILINE))
    fetched = _counter(progress, "fetches modules", modules, lambda line: line.startswith("go: downloading"))
    command = ["go", "list", "-deps", *program.flags, "-f", "{{if .Stale}}stale {{.ImportPath}}{{end}}"]
    lines = tools.run(program.name, [*command, program.package], cwd=program.source, environment=_GO, on_line=fetched)
    return {line.removeprefix("stale ") for line in lines if line.startswith("stale ")}


def _counter(progress: Progress, doing: str, of: int, counts: Callable[[str], bool]) -> Callable[[str], None]:
    done = 0
    progress.now(doing, 0, of)

    def on_line(line: str) -> None:
        nonlocal done
        done += counts(line)
        progress.now(doing, min(done, of), of)

    return on_line
