"""Check the whole ledger: chain, versions, object lock, times, seals, and the newest record that this host has seen.

In: the parts, and digests that the ledger must contain. Out: an `Audit` with its findings.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.errors import SealBroken
from mlflow_project.ledger import audit
from mlflow_project.ledger.anchor import Anchor
from mlflow_project.ledger.ledger import anchor_folder, ledger_address
from mlflow_project.parts import Parts
from mlflow_project.seal.keys import load_trusted
from mlflow_project.seal.seal import verify


def verify_ledger(parts: Parts, heads: Sequence[str] = ()) -> audit.Audit:
    """Read every record and every version from the store, and name what is wrong.

    Raises:
        SealBroken: no trusted key is there, so that no seal can be checked. Unavailable: the store does not answer.
    """
    trusted = load_trusted(parts.seal.trusted_keys)
    seen = Anchor(anchor_folder(), ledger_address(parts.store)).read()

    def check_seal(record: LedgerRecord) -> None:
        statement = verify(record.evidence.get("envelope", {}), trusted, record.time)
        stated = (statement.kind, statement.name, statement.version, statement.digest)
        if stated != (record.kind, record.name, record.version, record.digest):
            raise SealBroken(
                f"The record is about {record.name}/{record.version}, and its envelope seals "
                f"{statement.name}/{statement.version} with the digest {statement.digest}."
            )

    return audit.verify(parts.store, check_seal, [*heads, *([seen] if seen is not None else [])])
