"""Reads the gate's earlier verdicts on a name from the ledger: of seals and of refusals.

In: the ledger's records. Out: `EarlierVerdict`s, oldest first. A verdict that tested nothing against a champion is left
out. Signatures are not checked: whoever could forge a record here could only make the gate stricter, or write a seal,
whose signature the promotion checks.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.rules.gate.spending import TESTED, EarlierVerdict, grounds


def earlier_verdicts(records: Iterable[LedgerRecord], name: str, kind: str) -> list[EarlierVerdict]:
    """The verdicts on a prompt or model."""
    own = [each for each in records if (each.name, each.kind) == (name, kind) and each.type in ("seal", "refusal")]
    return [verdict for record in own if (verdict := _verdict(record)) is not None]


def _verdict(record: LedgerRecord) -> EarlierVerdict | None:
    try:
        evidence = _predicate(record.evidence["envelope"]) if record.type == "seal" else record.evidence
        verdict, champion, cases = evidence["verdict"], evidence["champion"], evidence["cases"]
        if champion is None or not any(check["rule"] in TESTED for check in verdict["checks"]):
            return None
        on = grounds(verdict, record.digest, champion["digest"], evidence["policy"]["digest"], cases["digest"])
        return EarlierVerdict(record.type == "seal", on, cases["digest"], tuple(cases.get("marks", ())))
    except (KeyError, TypeError, ValueError):  # a record of another make says nothing about verdicts
        return None


def _predicate(envelope: Mapping[str, Any]) -> Mapping[str, Any]:
    statement = json.loads(base64.b64decode(envelope["payload"]))
    predicate: Mapping[str, Any] = statement["predicate"]
    return predicate
