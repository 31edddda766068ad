"""A worker warms what the snapshot asks for, and tries again what it could not warm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from mlflow_project.adapters.providers import Providers
from mlflow_project.domain.release import Manifest, Message, ProviderChoice, Release
from mlflow_project.domain.verdict import Verdict
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.seal.keys import ensure_key, signing_key
from mlflow_project.seal.seal import sign
from mlflow_project.seal.statement import statement_for
from mlflow_project.settings import ProviderSettings, SealSettings
from mlflow_project.snapshot.content import Placed, Snapshot
from mlflow_project.snapshot.folder import ServingFolder
from serving.live.worker import Worker


def sealed(keys: SealSettings) -> Placed:
    template = (Message("user", "{{question}}"),)
    manifest = Manifest("prompt", "qa", template=template, provider=ProviderChoice("extractive", "extractive-1"))
    release = Release(1, manifest_digest(manifest), manifest)
    statement = statement_for(release, Verdict("accepted", ()), "sha256:0", None, {}, {}, "user:test", "2026-01-01")
    envelope = sign(statement, signing_key(keys))
    return Placed("Production", 1, release.digest, manifest, envelope, "2026-01-01T00:00:00.000Z", "2026-01-02")


async def holds(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.01)


def test_a_release_that_could_not_be_warmed_is_refused_and_tried_again(tmp_path: Path) -> None:
    keys = SealSettings(signing_key=tmp_path / "gate.pem", trusted_keys=tmp_path / "trusted")
    ensure_key(keys)
    folder = ServingFolder(tmp_path / "serving")
    folder.prepare()
    folder.write_snapshot(Snapshot())
    settings = ProviderSettings(llm_api_url="http://127.0.0.1:9", llm_api_key=None)
    away = tmp_path / "away"

    async def through() -> None:
        worker = Worker(folder, keys.trusted_keys, Providers(settings), first_retry=0.05)
        await worker.start()
        keys.trusted_keys.rename(away)
        folder.write_snapshot(Snapshot(live=(sealed(keys),)))
        await holds(lambda: [(no.name, no.cause) for no in worker.refused] == [("qa", "broken_seal")])
        away.rename(keys.trusted_keys)
        await holds(lambda: ("qa", "Production") in worker.shelf.live)
        assert worker.refused == ()
        await worker.stop()

    asyncio.run(through())
