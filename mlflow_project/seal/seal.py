"""Sign a statement, and verify an envelope (DSSE v1, Ed25519).

A server needs only `verify`: it takes an envelope and trusted keys, and returns the statement. It does not check the
content that is served: compare `Statement.digest` with that content's digest. Signing uses securesystemslib. Verifying
uses only the cryptography library, because securesystemslib imports boto3, which a server's worker must not load.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature

from mlflow_project.errors import SealBroken
from mlflow_project.rules.canonical import canonical
from mlflow_project.seal.keys import TrustedKeys
from mlflow_project.seal.statement import PAYLOAD_TYPE, Statement, read_statement


def sign(statement: Mapping[str, Any], key: Any) -> dict[str, Any]:
    """The envelope of a statement, JSON-ready. `key` is what `keys.signing_key` returns."""
    from securesystemslib.dsse import Envelope

    envelope = Envelope(canonical(statement), PAYLOAD_TYPE, {})
    envelope.sign(key)
    return dict(envelope.to_dict())


def verify(envelope: Mapping[str, Any], trusted: TrustedKeys, recorded: str | None = None) -> Statement:
    """Check an envelope's signature and return its statement.

    Args:
        recorded: when the ledger recorded the seal. A key that was retired before that time does not count.

    Raises:
        SealBroken: no valid key has signed the envelope, or it is not a seal.
    """
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        kind = envelope["payloadType"]
        signatures = {item["keyid"]: base64.b64decode(item["sig"], validate=True) for item in envelope["signatures"]}
        signed = _pre_authentication_encoding(kind, payload)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SealBroken(f"This seal is not a DSSE envelope: {error!r}.") from error
    if not _signed_by_one_of(trusted.valid_at(recorded), signatures, signed):
        signers = ", ".join(key_id[:12] for key_id in signatures) or "nobody"
        raise SealBroken(
            f"No trusted key verifies this seal (signed by {signers}). It was changed, or its key is not trusted "
            "or was retired."
        )
    if kind != PAYLOAD_TYPE:
        raise SealBroken(f"A seal's payload is {PAYLOAD_TYPE}; this one says {kind!r}.")
    try:
        return read_statement(json.loads(payload))
    except ValueError as error:
        raise SealBroken(f"This seal's payload is not JSON: {error}.") from error


def _pre_authentication_encoding(kind: str, payload: bytes) -> bytes:
    """What a DSSE signature covers (https://github.com/secure-systems-lab/dsse, protocol.md)."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def _signed_by_one_of(keys: Mapping[str, Any], signatures: Mapping[str, bytes], signed: bytes) -> bool:
    for key_id in keys.keys() & signatures.keys():
        try:
            keys[key_id].verify(signatures[key_id], signed)
            return True
        except InvalidSignature:
            continue
    return False
