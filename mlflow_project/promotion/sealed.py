"""Checks that a version may become live: it has a valid seal, a stored manifest, and the sealed content in MLflow.

In: a name's state and a version. Out: the seal and its verified statement, or `SealBroken` with what is wrong.
"""

from __future__ import annotations

from mlflow_project.adapters.releases import read_manifest
from mlflow_project.domain.release import Manifest
from mlflow_project.errors import InvalidData, SealBroken
from mlflow_project.ledger import NameState, Seal
from mlflow_project.parts import Parts
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.content import differences, manifest_of
from mlflow_project.seal.keys import load_trusted
from mlflow_project.seal.seal import verify
from mlflow_project.seal.statement import Statement


def sealed_release(parts: Parts, state: NameState, version: int, seal: Seal | None = None) -> tuple[Seal, Statement]:
    """The version's newest seal, or the given one, after every check.

    Raises:
        SealBroken: there is none, or something does not hold. NotFound: there is no such version in MLflow.
    """
    registered = parts.registry.version(state.name, version)
    label, seal = f"{state.name}/{version}", seal or state.seals.get(version)
    if seal is None:
        refusal = state.refusals.get(version)
        why = f" The gate refused it at {refusal.time}: {refusal.why}." if refusal else ""
        raise SealBroken(
            f"{label} has no seal.{why} Run `switchyard evaluate {state.name} --version {version}`, then "
            f"`switchyard gate {state.name} --version {version}`."
        )
    statement = checked_statement(parts, state.name, seal)
    manifest = read_manifest(parts.store, seal.digest)
    try:
        present = manifest_of(registered)
    except InvalidData as error:
        raise SealBroken(f"{label} was changed in MLflow after it was sealed: {error}") from error
    check_same(label, manifest, present)
    return seal, statement


def checked_statement(parts: Parts, name: str, seal: Seal) -> Statement:
    """What the seal states, once its signature and what it binds are found right.

    Raises:
        SealBroken: they are not.
    """
    statement = verify(seal.envelope, load_trusted(parts.seal.trusted_keys), seal.recorded)
    if (statement.name, statement.version, statement.digest) != (name, seal.version, seal.digest):
        raise SealBroken(
            f"The seal that the ledger holds for {name}/{seal.version} is for {statement.name}/{statement.version}, "
            f"digest {statement.digest}."
        )
    if statement.predicate["policy"].get("protected", seal.protected) != seal.protected:
        raise SealBroken(f"The ledger and the seal of {name}/{seal.version} disagree on whether it is protected.")
    return statement


def check_same(label: str, sealed: Manifest, present: Manifest) -> None:
    """Whether the content in MLflow is what was sealed.

    Raises:
        SealBroken: it is not; the message names the fields.
    """
    if manifest_digest(sealed) == manifest_digest(present):
        return
    fields = ", ".join(field for field, _, _ in differences(sealed, present)) or "its form"
    raise SealBroken(
        f"{label} was changed in MLflow after it was sealed: {fields}. Register it anew, then evaluate and gate that."
    )
