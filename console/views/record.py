"""The ledger as a timeline: its records a page at a time, what was live at a time, and its check. In: the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.parts import Parts
from mlflow_project.promotion.audit import verify_all
from mlflow_project.promotion.verify_ledger import verify_ledger

PER_PAGE = 50


@dataclass(frozen=True)
class RecordPage:
    """Records, newest first. `older` and `newer` are the serials where the pages beside this one begin; None: there is
    no such page."""

    records: tuple[LedgerRecord, ...]
    head: int
    older: int | None
    newer: int | None


def record_page(parts: Parts, before: int | None, name: str) -> RecordPage:
    """The newest records with a serial below `before`, of one name or of all.

    Raises:
        Unavailable: the store does not answer.
    """
    every = parts.ledger.records()
    head = every[-1].serial if every else 0
    counted = [record for record in every if record.name == name] if name else every
    end = len(counted)
    if before is not None:
        end = next((place for place, record in enumerate(counted) if record.serial >= before), end)
    begin = max(0, end - PER_PAGE)
    after = counted[min(end + PER_PAGE, len(counted)) - 1].serial + 1 if end < len(counted) else None
    return RecordPage(tuple(reversed(counted[begin:end])), head, counted[begin].serial if begin > 0 else None, after)


def checked_ledger(parts: Parts) -> list[str]:
    """Read and check every record, and everything that is live. Returns what was found, in lines."""
    audit = verify_ledger(parts, ())
    lines = [f"Record {each.serial or '?'}: {each.problem}: {each.detail}" for each in audit.findings]
    if not audit.findings:
        lines.append(f"All {audit.records} records are whole, unchanged, protected and in order.")
        lines.append(f"The newest is record {audit.head.serial}: {audit.head.digest}")
    live = verify_all(parts)
    wrong = [each for each in live if not each.ok]
    lines += [f"WRONG: {each.name}@{each.alias} version {each.version}, {each.check}: {each.detail}" for each in wrong]
    if not wrong:
        lines.append(f"What is live is exactly what was sealed: {len(live)} checks.")
    return lines
