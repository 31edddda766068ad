"""Collects the mistakes of one file with their lines, so that one error reports all of them."""

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
        """Add a mistake. Lines count from 1."""
        self.found.append((line, what))

    def raise_any(self) -> None:
        """Raise InvalidData if there are mistakes, with a line for each, in the order of the file."""
        if self.found:
            raise InvalidData("\n".join(f"{self.path}, line {line}: {what}" for line, what in sorted(self.found)))
