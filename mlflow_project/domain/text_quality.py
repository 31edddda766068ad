"""The quality of the texts of a knowledge base at one version of its chunk table: counts, quarantine and profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TextQuality:
    """What a preparation left, counted.

    `quarantine` has the rows in quarantine by reason. `rejected` counts those of them that a preparation's
    `--max-rejected` counts too: neither pages of documents that were taken, nor rows that somebody wanted dropped.
    `rows` are the raw rows: documents and quarantine, without pages. `profiled` names the columns with a profile.
    """

    table: str
    version: int
    documents: int
    chunks: int
    quarantine: Mapping[str, int]
    rejected: int
    rows: int
    profiled: tuple[str, ...]

    @property
    def share(self) -> float:
        """Rejected rows among all raw rows."""
        return self.rejected / self.rows if self.rows else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "documents": self.documents,
            "chunks": self.chunks,
            "quarantine": dict(self.quarantine),
            "rejected": self.rejected,
            "rows": self.rows,
            "share": self.share,
            "profiled": list(self.profiled),
        }

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.quarantine.items())
        kept = f"{sum(self.quarantine.values()):,} in quarantine" + (f" ({reasons})" if reasons else "")
        profile = f"a profile of {', '.join(self.profiled)}" if self.profiled else "no profile"
        return (
            f"{self.documents:,} documents, {self.chunks:,} chunks, {kept}; {self.rejected:,} of {self.rows:,} rows "
            f"rejected ({self.share:.2%}); {profile}"
        )
