"""A server over a snapshot that the test writes, as a follower would: for tests of what is asked and answered.

Releases are sealed with a key of the test's own and verified by the real server. No registry, no object store and no
follower runs; how a snapshot comes about is tested with all of them (`test_following`, `faults`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlflow_project.domain.release import Manifest, Message, ProviderChoice, Release
from mlflow_project.domain.shadow import ShadowLimits
from mlflow_project.domain.verdict import Verdict
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.seal.keys import ensure_key, signing_key
from mlflow_project.seal.seal import sign
from mlflow_project.seal.statement import statement_for
from mlflow_project.settings import SealSettings
from mlflow_project.snapshot.contact import Contact, write_contact
from mlflow_project.snapshot.content import Placed, PlacedShadow, Snapshot
from mlflow_project.snapshot.folder import ServingFolder
from tests.serving.conftest import Host

MOOD_SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["positive", "negative"]}},
    "required": ["label"],
    "additionalProperties": False,
}
_RECORDED = "2026-11-01T00:00:00.000Z"


class Snapshots:
    """Seals releases and places them under aliases; each change replaces the snapshot of its folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = SealSettings(signing_key=path / "gate.pem", trusted_keys=path / "trusted")
        ensure_key(self.keys)
        self._folder = ServingFolder(path)
        self._folder.prepare()
        self._sealed: dict[str, list[Placed]] = {}
        self.live: dict[tuple[str, str], Placed] = {}
        self.shadows: dict[str, PlacedShadow] = {}
        self._write()
        write_contact(self._folder.contact_file, Contact.now(60_000))

    def seal(self, name: str, system: str = "", **fields: Any) -> Release:
        """The next version of a prompt. `system` makes its content unlike others."""
        template = (Message("system", system), Message("user", "{{question}}"))
        provider = ProviderChoice("extractive", "extractive-1", {"sentences": 1})
        manifest = Manifest("prompt", name, **{"template": template, "provider": provider, **fields})
        versions = self._sealed.setdefault(name, [])
        release = Release(len(versions) + 1, manifest_digest(manifest), manifest)
        accepted = Verdict("accepted", ("it was good",))
        said = statement_for(release, accepted, "sha256:0", None, {}, {}, "user:test", _RECORDED)
        envelope = sign(said, signing_key(self.keys))
        versions.append(Placed("", release.version, release.digest, manifest, envelope, _RECORDED, _RECORDED))
        return release

    def point(self, name: str, version: int, alias: str = "Production") -> None:
        """Move an alias."""
        self.live[name, alias] = replace(self._sealed[name][version - 1], alias=alias)
        self._write()

    def shadow(self, name: str, version: int, **limits: Any) -> None:
        """Make a version the shadow of its name; without limits, end the shadow."""
        placed = replace(self._sealed[name][version - 1], alias="Shadow")
        shadow = PlacedShadow(7, ShadowLimits(**limits), placed) if limits else None
        self.shadows = {**self.shadows, name: shadow} if shadow else {}
        self._write()

    def host(self, **settings: str) -> Host:
        """A host of this folder, not started."""
        return Host(self.path, SWITCHYARD_TRUSTED_KEYS=str(self.keys.trusted_keys), **settings)

    def _write(self) -> None:
        self._folder.write_snapshot(Snapshot(live=tuple(self.live.values()), shadows=tuple(self.shadows.values())))


@pytest.fixture(scope="module")
def released(_own_settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    """The releases of a module's server."""
    return Snapshots(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def host(released: Snapshots) -> Iterator[Host]:
    """That server."""
    running = released.host()
    running.start_server()
    yield running
    running.stop()
