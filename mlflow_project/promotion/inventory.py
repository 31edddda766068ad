"""What exists: every version of every prompt and model, with its aliases in MLflow and its verdict in the ledger.

In: registry and ledger. Out: one `Version` for each, or one version in full. Reads only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlflow_project.adapters.registry import RegistryEntry, RegistryVersion
from mlflow_project.domain.release import Manifest
from mlflow_project.errors import InvalidData, NotFound, SealBroken
from mlflow_project.ledger import NameState
from mlflow_project.parts import Parts
from mlflow_project.promotion.sealed import checked_statement
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.content import manifest_of


@dataclass(frozen=True)
class Version:
    """One version.

    Attributes:
        digest: of the content that MLflow holds now; None if that content cannot be read.
        sealed: `yes`, `no`, or `changed` if MLflow holds other content than what was sealed.
        aliases: those that point at it in MLflow.
        live: the aliases under which the ledger has it live. Differs from `aliases` after a move by hand.
        verdict: the gate's last word: `accepted`, `rejected`, `inconclusive`, or None before the first.
        decided_at: when the gate said so; `record` is the ledger's record of it.
    """

    kind: str
    name: str
    version: int
    digest: str | None
    sealed: str
    aliases: tuple[str, ...]
    live: tuple[str, ...]
    verdict: str | None
    decided_at: str | None
    record: int | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def every_version(parts: Parts, name: str | None = None) -> list[Version]:
    """All versions of all names, or of one name, oldest first.

    Raises:
        NotFound: there is no such name. Unavailable: MLflow or the object store does not answer.
    """
    names = [name] if name is not None else sorted(found for _, found in parts.registry.names())
    entries, state = parts.registry.entries(names), parts.ledger.state()
    if name is not None and entries[name] is None:
        raise NotFound(f"No prompt or model is named {name!r}. `switchyard list` shows what exists.")
    return [
        _version(entry, found, state.of(entry.name), _manifest(parts, found))
        for entry in entries.values()
        if entry is not None
        for found in parts.registry.versions(entry.name)
    ]


def one_version(parts: Parts, name: str, number: int) -> dict[str, Any]:
    """One version in full: what `every_version` says of it, its manifest, its seal or refusal, and its approvals.

    Raises:
        NotFound: there is no such version. Unavailable: MLflow or the object store does not answer.
    """
    found, entry = parts.registry.version(name, number), parts.registry.entry(name)
    if entry is None:
        raise NotFound(f"No prompt or model is named {name!r}. `switchyard list` shows what exists.")
    state = parts.ledger.state().of(name)
    manifest = _manifest(parts, found)
    row, refusal = _version(entry, found, state, manifest), state.refusals.get(number)
    return {
        **row.to_dict(),
        "manifest": None if manifest is None else manifest.to_dict(),
        "seal": _seal(parts, state, number),
        "refusal": None if refusal is None else {"record": refusal.serial, "time": refusal.time, "why": refusal.why},
        "approved_by": state.approved_by(number, row.digest) if row.digest else [],
    }


def _version(entry: RegistryEntry, found: RegistryVersion, state: NameState, manifest: Manifest | None) -> Version:
    number = found.version
    digest = None if manifest is None else manifest_digest(manifest)
    seal, refusal = state.seals.get(number), state.refusals.get(number)
    verdict, decided_at, record = (None, None, None) if seal is None else ("accepted", seal.recorded, seal.serial)
    if refusal is not None:
        outcome = refusal.evidence.get("verdict", {}).get("outcome", "rejected")
        verdict, decided_at, record = outcome, refusal.time, refusal.serial
    return Version(
        kind=entry.kind,
        name=entry.name,
        version=number,
        digest=digest,
        sealed="no" if seal is None else "yes" if seal.digest == digest else "changed",
        aliases=_pointing(entry.aliases.items(), number),
        live=_pointing(((alias, live.version) for alias, live in state.live.items()), number),
        verdict=verdict,
        decided_at=decided_at,
        record=record,
    )


def _pointing(pairs: Any, number: int) -> tuple[str, ...]:
    return tuple(sorted(alias for alias, version in pairs if version == number))


def _manifest(parts: Parts, found: RegistryVersion) -> Manifest | None:
    """The content of a version; None if it cannot be read, or if the model is of a kind that cannot be released."""
    try:
        return manifest_of(parts.models.described(found))
    except (InvalidData, NotFound):
        return None


def _seal(parts: Parts, state: NameState, number: int) -> dict[str, Any] | None:
    seal = state.seals.get(number)
    if seal is None:
        return None
    try:
        statement = checked_statement(parts, state.name, seal)
    except SealBroken as error:
        return {"record": seal.serial, "time": seal.recorded, "digest": seal.digest, "broken": str(error)}
    reasons: Sequence[str] = statement.predicate["verdict"].get("reasons", ())
    return {
        "record": seal.serial,
        "time": statement.sealed_at,
        "digest": seal.digest,
        "by": statement.sealed_by,
        "champion": None if statement.champion is None else statement.champion[0],
        "cases": statement.predicate["cases"],
        "runs": statement.predicate["runs"],
        "reasons": list(reasons),
    }
