"""Finds the sealed release that a person names, and a model's files, for jobs that predict or ask.

In: a name with an alias or a version, as in `fraud@Production` or `fraud/3`. Out: the release as it was sealed. The
ledger says which version an alias names. Everything is checked: the seal by its signature, the manifest and each file
by its digest.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow_project.adapters.model_files import fetch_sealed
from mlflow_project.adapters.releases import read_manifest
from mlflow_project.domain.model import Loading
from mlflow_project.domain.reference import Reference
from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidData, NotFound, Refused
from mlflow_project.parts import Parts
from mlflow_project.seal.keys import load_trusted
from mlflow_project.seal.seal import verify


@dataclass(frozen=True)
class SealedModel:
    """A model's release with its files, as every executor gets them. `loading` is what its seal allows beyond safe
    formats."""

    release: Release
    files: Mapping[str, bytes]
    loading: Loading


def sealed_release(parts: Parts, named: Reference, digest: str | None = None) -> tuple[Release, Loading]:
    """The release, and what its seal allows when a model's files are loaded.

    With a digest, which needs a version number in `named`, it is the content of that digest, although the version may
    have another content and seal by now.

    Raises:
        NotFound: nothing is live under the alias. Refused: the version has no seal.
        SealBroken: what is in the store is not what was sealed. Unavailable: the store does not answer.
    """
    state = parts.ledger.state().of(named.name)
    version = named.version
    if version is None:
        alias = named.alias or "Production"
        live = state.live.get(alias)
        if live is None:
            raise NotFound(f"No version of {named.name!r} is live under {alias}. `switchyard live` shows what is.")
        version, digest = live.version, live.digest
    seal = state.seals.get(version) if digest is None else state.all_seals.get((version, digest))
    if seal is None:
        raise Refused(
            f"{named.name}/{version} has no seal: `switchyard gate {named.name} --version {version}` gives one."
        )
    manifest = read_manifest(parts.store, seal.digest)
    stated = verify(seal.envelope, load_trusted(parts.seal.trusted_keys), seal.recorded)
    return Release(version, seal.digest, manifest), stated.loading


def sealed_model(parts: Parts, release: Release, loading: Loading) -> SealedModel:
    """A model's release with its files. Raises as `sealed_release`, and InvalidData where the release is a prompt."""
    if release.manifest.kind != "model":
        raise InvalidData(f"{release.label} is a {release.manifest.kind}, and this job predicts with models only.")
    with tempfile.TemporaryDirectory(prefix="switchyard-model-") as scratch:
        folder = fetch_sealed(parts.store, release.manifest, release.digest, Path(scratch))
        files = {file.path: (folder / file.path).read_bytes() for file in release.manifest.files or ()}
    return SealedModel(release, files, loading)
