"""The gate's signing key and the public keys that are trusted, as PEM files.

`gate.pem` is the private key. Only its owner can read it, and it stays with the gate. `trusted/<key id>.pem` are the
public keys that servers and checks trust; several are valid at once. To rotate, move `gate.pem` away: the next seal
makes a new key, and the old public key stays trusted. To retire a key, write the time (UTC, ISO 8601) to
`trusted/<key id>.retired`: seals that the ledger recorded earlier stay valid, later ones are refused. To distrust a key
altogether, remove its file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from mlflow_project.errors import ConfigError, SealBroken
from mlflow_project.settings import SealSettings


@dataclass(frozen=True)
class TrustedKeys:
    """Public keys by key id, and for retired keys the time of retirement."""

    keys: Mapping[str, Ed25519PublicKey]
    retired: Mapping[str, datetime]

    def valid_at(self, recorded: str | None) -> dict[str, Ed25519PublicKey]:
        """The keys that were not retired when the ledger recorded a seal; for None, all keys.

        Raises:
            SealBroken: `recorded` cannot be read as a time, and a key was retired.
        """
        if recorded is None or not self.retired:
            return dict(self.keys)
        moment = _moment(recorded, "The time at which this seal was recorded")
        return {
            key_id: key
            for key_id, key in self.keys.items()
            if key_id not in self.retired or moment < self.retired[key_id]
        }


def ensure_key(settings: SealSettings) -> str:
    """Make the signing key if there is none, and trust its public key. Returns the key id."""
    from securesystemslib.signer import CryptoSigner

    path = settings.signing_key
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_once(path, CryptoSigner.generate_ed25519().private_bytes, 0o600)
    signer = signing_key(settings)
    public = _load_private(path).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    settings.trusted_keys.mkdir(parents=True, exist_ok=True)
    _write_once(settings.trusted_keys / f"{signer.public_key.keyid}.pem", public, 0o644)
    return str(signer.public_key.keyid)


def signing_key(settings: SealSettings) -> Any:
    """The gate's signer.

    Raises:
        ConfigError: the key is missing or unreadable.
    """
    from securesystemslib.signer import CryptoSigner  # imports boto3 where it is installed: for the gate alone

    return CryptoSigner(_load_private(settings.signing_key))


def _load_private(path: Path) -> Ed25519PrivateKey:
    """The private key in a file.

    Raises:
        ConfigError: it is missing, unreadable, or not an Ed25519 key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"The gate's signing key {path} cannot be read ({type(error).__name__}): `make up` makes one, and "
            "SWITCHYARD_SIGNING_KEY says where another lies."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"The gate's signing key {path} is not an Ed25519 key.")
    return key


def load_trusted(folder: Path) -> TrustedKeys:
    """The trusted keys in a folder.

    Raises:
        SealBroken: the folder has no key, a file is not a public key, or a `.retired` file does not hold a time.
    """
    keys, retired = {}, {}
    for path in sorted(folder.glob("*.pem")):
        keys[path.stem] = _public_key(path)
        note = path.with_suffix(".retired")
        if note.exists():
            retired[path.stem] = _moment(note.read_text().strip(), f"What {note} says")
    if not keys:
        raise SealBroken(
            f"There is no trusted key in {folder}, so no seal can be checked. Put the gate's public key there."
        )
    return TrustedKeys(keys, retired)


def _moment(text: str, what: str) -> datetime:
    """A time in ISO 8601; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SealBroken(f"{what}, {text!r}, is not a time. Use ISO 8601, for example 2026-11-30T14:03:07Z.") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SealBroken(f"The trusted key {path} cannot be read: {error}.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SealBroken(f"The trusted key {path} is not an Ed25519 key.")
    return key


def _write_once(path: Path, data: bytes, mode: int) -> None:
    """Create the file completely or not at all. A file that another process has written first stays."""
    own = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    try:
        os.link(own, path)
    except FileExistsError:
        return
    finally:
        own.unlink()
