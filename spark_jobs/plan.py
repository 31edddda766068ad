"""The plan of a preparation: what it would change, and whether that is more than the caller allows.

In: counts of rows and documents, known before anything is committed. Out: a `Plan`, or `Refused` if it crosses a limit.
A wrong input file looks like a corpus that lost all its documents; the limits keep such a mistake out of the tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mlflow_project.errors import Refused
from mlflow_project.rules.chunking.records import DROPPED_ON_REQUEST, OF_PAGES


@dataclass(frozen=True)
class Limits:
    """The largest changes that a preparation makes without a confirmation.

    `deleted` is a share of the documents in the table; `rejected` is a share of the rows read.
    """

    deleted: float = 0.1
    rejected: float = 0.2


@dataclass(frozen=True)
class Plan:
    """What a preparation does to the tables. `quarantined` counts rows by reason.

    `read` is `documents` and all `quarantined` rows together, bad pages of taken documents among them. `documents` is
    `new`, `changed` and `unchanged` together. `tombstones` counts those of the `deleted` documents that somebody
    deleted by their id; no limit applies to them.
    """

    read: int
    quarantined: dict[str, int] = field(default_factory=dict)
    new: int = 0
    unchanged: int = 0
    changed: int = 0
    deleted: int = 0
    tombstones: int = 0

    @property
    def documents(self) -> int:
        """Documents in the input."""
        return self.new + self.changed + self.unchanged

    @property
    def held(self) -> int:
        """Documents in the table before the run."""
        return self.unchanged + self.changed + self.deleted

    @property
    def rejected(self) -> int:
        """Rows that go to quarantine."""
        return sum(self.quarantined.values())

    @property
    def changes_documents(self) -> bool:
        """Whether any document is new, changed or deleted."""
        return bool(self.new or self.changed or self.deleted)

    def __str__(self) -> str:
        return (
            f"{self.new:,} new, {self.changed:,} changed, {self.deleted:,} deleted and {self.unchanged:,} unchanged "
            f"documents; {self.rejected:,} of {self.read:,} rows rejected"
        )

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON-ready data."""
        names = ("read", "documents", "quarantined", "new", "unchanged", "changed", "deleted")
        return {name: getattr(self, name) for name in names}

    def objection(self, limits: Limits) -> str:
        """The sentences that say which limits this plan crosses; empty if it crosses none."""
        return " ".join(each.sentence for each in self._crossed(limits))

    def check(self, limits: Limits, command: str, example: Callable[[], str] = str) -> None:
        """Stop a preparation that deletes or rejects more than the limits allow.

        The message repeats `command`, which the caller typed, with the options that allow this plan. `example` returns
        a sentence about one rejected row.

        Raises:
            Refused: a limit is crossed.
        """
        crossed = self._crossed(limits)
        if not crossed:
            return
        rejects = any(each.option.startswith("--max-rejected") for each in crossed)
        why = " ".join(filter(None, [self.objection(limits), example() if rejects else ""]))
        raise Refused(
            f"{why} The tables are as they were. Is this the right input, and the whole corpus? `--dry-run` shows the "
            f"plan, and `--append` keeps documents that the input does not hold. To go on: "
            f"{' '.join([command, *(each.option for each in crossed)])}"
        )

    def _crossed(self, limits: Limits) -> list[_Crossed]:
        pages = sum(n for reason, n in self.quarantined.items() if reason in OF_PAGES)
        dropped = sum(n for reason, n in self.quarantined.items() if reason in DROPPED_ON_REQUEST)
        unwanted = self.rejected - pages - dropped
        lacking = self.deleted - self.tombstones
        most = sorted(self.quarantined.items(), key=lambda each: (-each[1], each[0]))
        reasons = " Reasons: " + ", ".join(f"{reason} {n:,}" for reason, n in most) + "."
        found = []
        for part, whole, limit, what, more, option in (
            (lacking, self.held, limits.deleted, "documents in the table would be deleted", "", "--max-deleted"),
            (unwanted, self.read - pages, limits.rejected, "rows are rejected", reasons, "--max-rejected"),
        ):
            if part > limit * whole + 1e-9:
                sentence = f"{part:,} of {whole:,} {what} ({part / whole:.1%}; at most {limit:.1%} may be).{more}"
                enough = math.ceil(part / whole * 1000 - 1e-9) / 1000
                found.append(_Crossed(sentence, f"{option} {enough:g}"))
        return found


class _Crossed(NamedTuple):
    """A limit that a plan crosses: a sentence about it, and the option, to three decimals, that allows the plan."""

    sentence: str
    option: str
