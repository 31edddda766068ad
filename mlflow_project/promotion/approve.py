"""Records a person's approval of a version, and compares two versions.

An approval is for the content that the version has now. Rewritten content needs a new approval.
"""

from __future__ import annotations

from typing import Any

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.errors import InvalidData, Refused
from mlflow_project.identity import by_key
from mlflow_project.ledger import Draft
from mlflow_project.parts import Parts
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.content import differences, manifest_of


def approve(parts: Parts, name: str, version: int, who: str, why: str = "") -> LedgerRecord:
    """Record that `who` approves this version with its present content.

    Raises:
        NotFound: no such version. InvalidData: `who` has approved it already. Refused: the name is protected, and
        `who` is not known by a key.
    """
    registered = parts.registry.version(name, version)
    digest = manifest_digest(manifest_of(parts.models.described(registered)))
    state = parts.ledger.state().of(name)
    if state.protected and not by_key(who):
        raise Refused(
            f"{name} is protected: approve it with an API key, not as {who}. Set SWITCHYARD_API_KEY "
            "(`switchyard keys create OWNER` makes one)."
        )
    if who in state.approved_by(version, digest):
        raise InvalidData(f"{who} has approved {name}/{version} already.")
    return parts.ledger.append(Draft("approval", registered.kind, name, who, why, version, digest))


def diff(parts: Parts, name: str, before: int, after: int) -> list[tuple[str, Any, Any]]:
    """(field, before, after) of all that differs between two versions as MLflow holds them now.

    Raises:
        NotFound: no such version.
    """
    versions = (parts.registry.version(name, version) for version in (before, after))
    left, right = (manifest_of(parts.models.described(version)) for version in versions)
    return differences(left, right)
