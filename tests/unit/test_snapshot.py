"""What a host has on disk: replaced whole, checked on loading, and never worse than the last known good."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.registry import Registry
from mlflow_project.domain.receipt import Receipt
from mlflow_project.domain.release import Manifest, Message, ProviderChoice, Release
from mlflow_project.domain.verdict import Verdict
from mlflow_project.errors import InvalidData, NotFound, SealBroken
from mlflow_project.follower.sealed import Fetcher
from mlflow_project.follower.watch import Watcher
from mlflow_project.ledger import Ledger
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.seal.keys import ensure_key, signing_key
from mlflow_project.seal.seal import sign
from mlflow_project.seal.statement import statement_for
from mlflow_project.settings import RegistrySettings, SealSettings, StoreSettings
from mlflow_project.snapshot.contact import Contact, read_contact, write_contact
from mlflow_project.snapshot.content import Placed, RefusedRelease, Snapshot
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.snapshot.verify import load_verified, verify
from mlflow_project.snapshot.workers import WorkerReport, live_workers, sweep_reports, write_report


@pytest.fixture
def keys(tmp_path: Path) -> SealSettings:
    settings = SealSettings(signing_key=tmp_path / "gate.pem", trusted_keys=tmp_path / "trusted")
    ensure_key(settings)
    return settings


@pytest.fixture
def folder(tmp_path: Path) -> ServingFolder:
    made = ServingFolder(tmp_path / "serving")
    made.prepare()
    return made


def placed(keys: SealSettings, version: int = 1, system: str = "Be kind.") -> Placed:
    template = (Message("system", system), Message("user", "{{question}}"))
    manifest = Manifest("prompt", "qa", template=template, provider=ProviderChoice("extractive", "extractive-1"))
    release = Release(version, manifest_digest(manifest), manifest)
    statement = statement_for(release, Verdict("accepted", ()), "sha256:0", None, {}, {}, "user:test", "2026-01-01")
    envelope = sign(statement, signing_key(keys))
    return Placed("Production", version, release.digest, manifest, envelope, "2026-01-01T00:00:00.000Z", "2026-01-02")


def test_a_snapshot_reads_back_as_it_was_written(folder: ServingFolder, keys: SealSettings) -> None:
    refused = RefusedRelease("prompt", "qa", "Staging", 3, None, "it has no seal")
    snapshot = Snapshot((placed(keys),), (placed(keys, 2),), (refused,))
    folder.write_snapshot(snapshot)
    assert folder.read_snapshot() == snapshot
    assert load_verified(folder, keys.trusted_keys) == snapshot


def test_there_is_no_snapshot_before_the_first(folder: ServingFolder, keys: SealSettings) -> None:
    with pytest.raises(NotFound):
        load_verified(folder, keys.trusted_keys)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"schema":"switchyard.snapshot/v1"}', b"\xff\xfe"])
def test_a_damaged_file_falls_back_to_the_one_before(folder: ServingFolder, keys: SealSettings, damage: bytes) -> None:
    first, second = Snapshot((placed(keys),)), Snapshot((placed(keys, 2),))
    folder.write_snapshot(first)
    folder.write_snapshot(second)
    folder.snapshot_file.write_bytes(damage)
    assert load_verified(folder, keys.trusted_keys) == first


def test_both_files_damaged_is_said(folder: ServingFolder, keys: SealSettings) -> None:
    folder.snapshot_file.write_bytes(b"{")
    folder.previous_file.write_bytes(b"{")
    with pytest.raises(InvalidData):
        load_verified(folder, keys.trusted_keys)


def test_every_flipped_byte_of_a_release_is_found(folder: ServingFolder, keys: SealSettings) -> None:
    good = placed(keys)
    folder.write_snapshot(Snapshot((good,)))
    whole = folder.snapshot_file.read_bytes()
    served = []
    for place in range(0, len(whole), 7):
        changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        folder.snapshot_file.write_bytes(changed)
        try:
            served += load_verified(folder, keys.trusted_keys).live
        except (InvalidData, NotFound):
            continue
    assert {(one.version, one.digest, manifest_digest(one.manifest)) for one in served} <= {
        (good.version, good.digest, good.digest)
    }


def test_a_seal_for_another_version_does_not_count(keys: SealSettings) -> None:
    with pytest.raises(SealBroken, match="qa/1"):
        verify(replace(placed(keys), version=2), keys.trusted_keys)


def test_a_seal_by_an_unknown_key_does_not_count(keys: SealSettings, tmp_path: Path) -> None:
    other = SealSettings(signing_key=tmp_path / "other.pem", trusted_keys=tmp_path / "others")
    ensure_key(other)
    with pytest.raises(SealBroken):
        verify(placed(other), keys.trusted_keys)


def test_the_age_of_the_contact_does_not_follow_the_wall_clock(folder: ServingFolder) -> None:
    set_back = replace(Contact.now(100), wall=time.time() + 3600)
    write_contact(folder.contact_file, set_back)
    found = read_contact(folder.contact_file)
    assert found is not None
    assert found.age_ms() < 1000
    assert found.fresh


def test_a_contact_of_long_ago_is_not_fresh() -> None:
    assert not replace(Contact.now(100), monotonic=time.monotonic() - 2).fresh
    assert replace(Contact.now(1000), monotonic=time.monotonic() - 2).fresh
    assert not replace(Contact.now(1000), reachable=False).fresh


def test_a_worker_counts_while_it_beats_and_its_process_is_there(folder: ServingFolder) -> None:
    receipt = Receipt("w1", "prompt", "qa", "Production", 1, "sha256:0", "serving", "2026-01-01")
    alive = WorkerReport("w1", os.getpid(), time.monotonic(), (receipt,))
    silent = WorkerReport("w2", os.getpid(), time.monotonic() - 10)
    dead = WorkerReport("w3", 2**22 + 1, time.monotonic())
    for report in (alive, silent, dead):
        write_report(folder.workers, report)
    assert list(live_workers(folder.workers)) == [alive]
    sweep_reports(folder.workers)
    assert {path.stem for path in folder.workers.glob("*.json")} == {"w1", "w2"}


def watcher(folder: ServingFolder, trusted: Path) -> Watcher:
    """A follower that has not looked yet; its registry and store are nowhere."""
    store = ObjectStore(StoreSettings(s3_access_key=SecretStr("-"), s3_secret_key=SecretStr("-")))
    return Watcher(
        Registry(RegistrySettings(mlflow_uri="http://127.0.0.1:9")),
        Ledger(store),
        Fetcher(store, folder, trusted),
        folder,
        interval_ms=100,
        identity="follower:test",
    )


def test_a_follower_takes_over_only_what_it_can_verify(folder: ServingFolder, keys: SealSettings) -> None:
    forged = replace(placed(keys, 2), manifest=placed(keys, 2, "Be rude.").manifest)
    folder.write_snapshot(Snapshot((placed(keys),)))
    folder.write_snapshot(Snapshot((forged,)))
    follower = watcher(folder, keys.trusted_keys)
    follower.start()
    assert [item.version for item in follower.current.live] == [1]
    assert "was changed" in follower.current.refused[0].reason


def test_a_follower_without_a_trusted_key_leaves_the_disk_alone(folder: ServingFolder, tmp_path: Path) -> None:
    with pytest.raises(SealBroken, match="no trusted key"):
        watcher(folder, tmp_path / "nowhere").start()
