"""Collects every mistake of one file, with its line, so that they are told at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mlflow_project.errors import InvalidData


@dataclass
class Mistakes:
    """The mistakes found in one file so far."""

    path: Path
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, what: str) -> None:
        """Note one; lines count from 1."""
        self.found.append((line, what))

    def raise_any(self) -> None:
        """Raise InvalidData with a line for each mistake, in the order of the file; do nothing when there is none."""
        if self.found:
            raise InvalidData("\n".join(f"{self.path}, line {line}: {what}" for line, what in sorted(self.found)))
