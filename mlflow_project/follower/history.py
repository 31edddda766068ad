"""What the ledger has said so far, read on from where it was: seals, and flips that are under way.

In: ledger records, each read once. Out: the newest seal of each version, and the open intents.
"""

from __future__ import annotations

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.follower.sealed import SealedVersion
from mlflow_project.ledger import Ledger


class History:
    """Grows by `catch_up`; `loaded` is false until the ledger could be read once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.loaded = False
        self.records: list[LedgerRecord] = []
        self.seals: dict[tuple[str, int], SealedVersion] = {}
        self.intents: dict[int, LedgerRecord] = {}

    @property
    def serial(self) -> int:
        """The last record's number; 0 before any."""
        return self.records[-1].serial if self.records else 0

    @property
    def names(self) -> list[str]:
        """Every name that has a sealed version."""
        return sorted({name for name, _ in self.seals})

    def catch_up(self) -> None:
        """Read what was appended since; raises Unavailable when the store does not answer."""
        for record in self._ledger.records(self.serial + 1):
            self._take(record)
        self.loaded = True

    def _take(self, record: LedgerRecord) -> None:
        self.records.append(record)
        if record.type == "seal" and record.version is not None and record.digest is not None:
            envelope = record.evidence.get("envelope", {})
            sealed = SealedVersion(record.kind, record.name, record.version, record.digest, envelope, record.time)
            self.seals[record.name, record.version] = sealed
        elif record.type == "intent":
            self.intents[record.serial] = record
        elif record.intent is not None:
            self.intents.pop(record.intent, None)
