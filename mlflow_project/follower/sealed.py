"""Fetches sealed releases: reads the manifest by its digest, verifies the seal, puts the search index on disk.

In: a version's seal in the ledger. Out: a `Placed` release whose every byte was checked, or an error that says why
not. A release that was fetched once is kept in memory, since content never changes under a digest. Its index or its
files are fetched again if their folder was deleted meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mlflow_project.adapters.model_files import fetch_sealed
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.releases import read_manifest
from mlflow_project.adapters.retrieval import index_store
from mlflow_project.ledger import Seal
from mlflow_project.snapshot.content import Placed
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.snapshot.verify import verify
from mlflow_project.telemetry.meters import Meters


class Fetcher:
    """Brings sealed releases to this host."""

    def __init__(self, store: ObjectStore, folder: ServingFolder, trusted: Path, meters: Meters | None = None) -> None:
        self._store = store
        self._folder = folder
        self.trusted = trusted
        self.meters = meters
        self._brought: set[Path] = set()
        self._placed: dict[tuple[str, int, str], Placed] = {}

    def fetch(self, name: str, seal: Seal, alias: str) -> Placed:
        """The release, verified, with its index on disk.

        Raises:
            SealBroken: the manifest does not match the seal, or no trusted key has signed it.
            NotFound, InvalidData, Unavailable: the release cannot be fetched.
        """
        key = (name, seal.version, seal.digest)
        placed = self._placed.get(key)
        if placed is None:
            manifest = read_manifest(self._store, seal.digest)
            placed = Placed("", seal.version, seal.digest, manifest, seal.envelope, seal.recorded)
            verify(placed, self.trusted, self.meters)
        self._bring(placed)
        self._placed[key] = placed
        return replace(placed, alias=alias)

    def _bring(self, placed: Placed) -> None:
        """Put the index or the model's files on disk, each file checked."""
        base = placed.manifest.knowledge_base
        if base is not None and self._is_missing(self._folder.index_folder(base.index)):
            self._brought.add(index_store.fetch(self._store, base.index, self._folder.indexes))
        if placed.manifest.kind == "model" and self._is_missing(self._folder.model_folder(placed.digest)):
            self._brought.add(fetch_sealed(self._store, placed.manifest, placed.digest, self._folder.models))

    def _is_missing(self, folder: Path) -> bool:
        """Whether the folder was not checked by this process yet, or was deleted since."""
        return folder not in self._brought or not folder.is_dir()
