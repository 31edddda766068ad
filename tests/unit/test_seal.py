"""Signing, verifying, rotating."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from mlflow_project.domain.release import Manifest, Message, ProviderChoice, Release
from mlflow_project.domain.verdict import Verdict
from mlflow_project.errors import ConfigError, SealBroken
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.seal import keys
from mlflow_project.seal.seal import sign, verify
from mlflow_project.seal.statement import statement_for
from mlflow_project.settings import SealSettings

MANIFEST = Manifest("prompt", "qa", (Message("user", "{{question}}"),), ProviderChoice("extractive", "extractive-1"))
RELEASE = Release(7, manifest_digest(MANIFEST), MANIFEST)


def statement(outcome: Any = "accepted", champion: Release | None = None) -> dict[str, Any]:
    verdict = Verdict(outcome, ("all floors hold",))
    cases = {"digest": "sha256:1", "count": 3}
    return statement_for(
        RELEASE, verdict, "sha256:2", champion, {"candidate": "a"}, cases, "user:anna", "2026-11-24T00:00Z"
    )


@pytest.fixture
def settings(tmp_path: Path) -> SealSettings:
    settings = SealSettings(signing_key=tmp_path / "gate.pem", trusted_keys=tmp_path / "trusted")
    keys.ensure_key(settings)
    return settings


@pytest.fixture
def envelope(settings: SealSettings) -> dict[str, Any]:
    return sign(statement(), keys.signing_key(settings))


def test_a_seal_states_what_was_signed(settings: SealSettings, envelope: dict[str, Any]) -> None:
    seal = verify(envelope, keys.load_trusted(settings.trusted_keys))
    assert (seal.name, seal.version, seal.digest, seal.champion) == ("qa", 7, RELEASE.digest, None)
    assert (seal.policy_digest, seal.sealed_by) == ("sha256:2", "user:anna")


def test_a_seal_binds_the_champion(settings: SealSettings) -> None:
    envelope = sign(statement(champion=Release(6, "sha256:6", MANIFEST)), keys.signing_key(settings))
    assert verify(envelope, keys.load_trusted(settings.trusted_keys)).champion == (6, "sha256:6")


def test_every_changed_character_of_an_envelope_breaks_the_seal(
    settings: SealSettings, envelope: dict[str, Any]
) -> None:
    trusted = keys.load_trusted(settings.trusted_keys)
    for part in ("payload", "payloadType"):
        for place in range(len(envelope[part])):
            with pytest.raises(SealBroken):
                verify({**envelope, part: changed(envelope[part], place)}, trusted)
    for part in ("sig", "keyid"):
        text = envelope["signatures"][0][part]
        for place in range(len(text.rstrip("=")) - 1):
            broken = copy.deepcopy(envelope)
            broken["signatures"][0][part] = changed(text, place)
            with pytest.raises(SealBroken):
                verify(broken, trusted)


def changed(text: str, place: int) -> str:
    return text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]


@pytest.mark.parametrize("broken", [{}, {"payload": "", "payloadType": "x", "signatures": []}, {"payload": 1}])
def test_what_is_no_envelope_is_a_broken_seal(settings: SealSettings, broken: dict[str, Any]) -> None:
    with pytest.raises(SealBroken):
        verify(broken, keys.load_trusted(settings.trusted_keys))


def test_a_signed_refusal_is_no_seal(settings: SealSettings) -> None:
    envelope = sign(statement("rejected"), keys.signing_key(settings))
    with pytest.raises(SealBroken, match="no acceptance"):
        verify(envelope, keys.load_trusted(settings.trusted_keys))


def test_the_key_is_readable_by_its_owner_alone_and_made_once(settings: SealSettings) -> None:
    assert settings.signing_key.stat().st_mode & 0o777 == 0o600
    assert keys.ensure_key(settings) == keys.ensure_key(settings)
    assert len(list(settings.trusted_keys.glob("*.pem"))) == 1


def test_after_a_rotation_old_and_new_seals_hold(settings: SealSettings, envelope: dict[str, Any]) -> None:
    settings.signing_key.rename(settings.signing_key.with_suffix(".old"))
    keys.ensure_key(settings)
    newer = sign(statement(), keys.signing_key(settings))
    trusted = keys.load_trusted(settings.trusted_keys)
    assert len(trusted.keys) == 2
    assert verify(envelope, trusted) == verify(newer, trusted)


def test_a_retired_key_counts_for_what_was_recorded_before(settings: SealSettings, envelope: dict[str, Any]) -> None:
    key_id = keys.ensure_key(settings)
    (settings.trusted_keys / f"{key_id}.retired").write_text("2026-11-24T12:00:00.000Z\n")
    trusted = keys.load_trusted(settings.trusted_keys)
    assert verify(envelope, trusted, "2026-11-24T11:59:59.000Z").version == 7
    with pytest.raises(SealBroken, match="retired"):
        verify(envelope, trusted, "2026-11-24T12:00:01.000Z")


def test_a_disowned_key_counts_for_nothing(settings: SealSettings, envelope: dict[str, Any], tmp_path: Path) -> None:
    other = SealSettings(signing_key=tmp_path / "other.pem", trusted_keys=tmp_path / "others")
    keys.ensure_key(other)
    with pytest.raises(SealBroken, match="No trusted key"):
        verify(envelope, keys.load_trusted(other.trusted_keys))


def test_without_keys_nothing_is_believed(tmp_path: Path) -> None:
    with pytest.raises(SealBroken, match="no trusted key"):
        keys.load_trusted(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        keys.signing_key(SealSettings(signing_key=tmp_path / "none.pem", trusted_keys=tmp_path))


def test_securesystemslib_verifies_what_was_signed(settings: SealSettings, envelope: dict[str, Any]) -> None:
    signer = keys.signing_key(settings)
    public = SSlibKey.from_crypto(signer._private_key.public_key(), signer.public_key.keyid)
    assert Envelope.from_dict(copy.deepcopy(envelope)).verify([public], 1)


def test_the_verifying_side_imports_neither_boto3_nor_mlflow() -> None:
    code = "import sys, mlflow_project.seal.seal; print([m for m in ('boto3', 'mlflow', 'httpx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
