"""Sign a statement, and verify an envelope (DSSE, Ed25519).

`verify` is all that a server needs: an envelope and trusted keys in, the statement out. It says nothing about the
content served: compare `Statement.digest` with the digest of that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as SecureSystemsError

from mlflow_project.errors import SealBroken
from mlflow_project.rules.canonical import canonical
from mlflow_project.seal.keys import TrustedKeys
from mlflow_project.seal.statement import PAYLOAD_TYPE, Statement, read_statement


def sign(statement: Mapping[str, Any], key: Any) -> dict[str, Any]:
    """The envelope of a statement, JSON-ready. `key` is what `keys.signing_key` returns."""
    envelope = Envelope(canonical(statement), PAYLOAD_TYPE, {})
    envelope.sign(key)
    return dict(envelope.to_dict())


def verify(envelope: Mapping[str, Any], trusted: TrustedKeys, recorded: str | None = None) -> Statement:
    """What a seal states, once its signature is found good.

    `recorded` is when the ledger recorded the seal: a key that was retired before does not count.

    Raises:
        SealBroken: no valid key signed this, or it is no seal.
    """
    try:
        parsed = Envelope.from_dict(json.loads(json.dumps(dict(envelope))))  # from_dict empties what it gets
    except (KeyError, TypeError, ValueError, AttributeError, SecureSystemsError) as error:
        raise SealBroken(f"This seal is no DSSE envelope: {error!r}.") from error
    keys = trusted.valid_at(recorded)
    try:
        parsed.verify(keys, 1)
    except (ValueError, SecureSystemsError) as error:
        signers = ", ".join(key[:12] for key in parsed.signatures) or "nobody"
        raise SealBroken(
            f"No trusted key verifies this seal (signed by {signers}; {len(keys)} keys are trusted): it was changed, "
            "or its key is not trusted or was retired."
        ) from error
    if parsed.payload_type != PAYLOAD_TYPE:
        raise SealBroken(f"A seal's payload is {PAYLOAD_TYPE}; this one says {parsed.payload_type!r}.")
    try:
        return read_statement(json.loads(parsed.payload))
    except ValueError as error:
        raise SealBroken(f"This seal's payload is not JSON: {error}.") from error
