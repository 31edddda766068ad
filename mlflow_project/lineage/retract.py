"""Takes documents back: they stay out of their tables from now on, and releases that rest on them are marked.

In: the `Impact` of the documents. Out: a `Retracted`. The ledger is written first, so that no release with the text
becomes live any more while the tables are still being prepared. Everything can be done twice. Facts that cannot be read
keep nothing from being retracted: do it again once they can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_project.adapters.retractions import retract_documents
from mlflow_project.domain.times import utc_now
from mlflow_project.errors import InvalidData
from mlflow_project.ledger import Draft
from mlflow_project.lineage.impact import Impact
from mlflow_project.parts import Parts

_MOST_NAMED = 100
"""A record names this many documents at most, and counts all."""


@dataclass(frozen=True)
class Retracted:
    """What was taken back: the documents by their chunk table, and the ledger's records by release."""

    documents: Mapping[str, Sequence[str]]
    records: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"documents": {table: list(ids) for table, ids in self.documents.items()}, "records": dict(self.records)}


def retract(parts: Parts, found: Impact, who: str, why: str) -> Retracted:
    """Mark the releases that rest on some documents, and note in each table that the documents stay out of it.

    Raises:
        InvalidData: no reason is given, or no table has the documents. Unavailable: a service does not answer.
    """
    if not why.strip():
        raise InvalidData("Say why the text is retracted: --reason TEXT. The ledger keeps it.")
    documents: dict[str, list[str]] = {}
    for node in found.graph.of_kind("document"):
        if node.table is not None:
            documents.setdefault(node.table, []).append(node.name)
    if not documents:
        raise InvalidData("No table that was prepared here has such a document, so there is nothing to retract.")
    records = _mark_releases(parts, found, documents, who, why)
    for table, ids in documents.items():
        retract_documents(table, ids, who, why, utc_now())
    return Retracted({table: sorted(ids) for table, ids in documents.items()}, records)


def _mark_releases(
    parts: Parts, found: Impact, documents: Mapping[str, Sequence[str]], who: str, why: str
) -> dict[str, int]:
    """A record for each release that is not marked yet. Returns the serial of each release's record."""
    state = parts.ledger.state()
    serials: dict[str, int] = {}
    for label, known in found.releases.items():
        base = known.manifest.knowledge_base
        if base is None:
            continue
        name, _, version = label.rpartition("/")
        before = state.of(name).retracted.get(known.digest)
        if before is not None:
            serials[label] = before.serial
            continue
        ids = sorted(documents.get(base.table, ()))
        evidence = {"documents": ids[:_MOST_NAMED], "count": len(ids), "table": base.table, "index": base.index}
        draft = Draft("retraction", known.manifest.kind, name, who, why, int(version), known.digest, evidence=evidence)
        serials[label] = parts.ledger.append(draft).serial
    return serials
