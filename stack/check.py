"""What the doctor says of one thing that it looked at. Standard library only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `fix` is empty when all is well."""

    check: str
    ok: bool
    found: str
    wanted: str
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)
