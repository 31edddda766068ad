"""Fetches sealed releases: reads the manifest by its digest, verifies the seal, puts the search index on disk.

In: a version's seal in the ledger. Out: a `Placed` release whose every byte was checked, or an error that says why
not. A release that was fetched once is kept in memory, since content never changes under a digest.
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
        self._indexes: set[str] = set()
        self._placed: dict[tuple[str, int, str], Placed] = {}

    def fetch(self, name: str, seal: Seal, alias: str) -> Placed:
        """The release, verified, with its index on disk.

        Raises:
            SealBroken: the manifest does not match the seal, or no trusted key has signed it.
            NotFound, InvalidData, Unavailable: the release cannot be fetched.
        """
        key = (name, seal.version, seal.digest)
        if key not in self._placed:
            manifest = read_manifest(self._store, seal.digest)
            placed = Placed("", seal.version, seal.digest, manifest, seal.envelope, seal.recorded)
            verify(placed, self.trusted, self.meters)
            if manifest.knowledge_base is not None:
                self._fetch_index(manifest.knowledge_base.index)
            if manifest.kind == "model":
                fetch_sealed(self._store, manifest, seal.digest, self._folder.models)
            self._placed[key] = placed
        found = self._placed[key]
        return replace(found, alias=alias)

    def _fetch_index(self, digest: str) -> None:
        if digest not in self._indexes:
            index_store.fetch(self._store, digest, self._folder.indexes)
            self._indexes.add(digest)
