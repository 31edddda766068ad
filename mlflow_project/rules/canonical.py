"""Canonical JSON (RFC 8785) and the digests made of it. Two equal values have equal bytes, on every machine."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785

from mlflow_project.domain.release import Manifest
from mlflow_project.errors import InvalidData


def canonical(value: Any) -> bytes:
    """The canonical JSON bytes of JSON-ready data.

    Raises:
        InvalidData: the value holds something that JSON cannot say (NaN, bytes, an integer beyond 2**53).
    """
    try:
        return rfc8785.dumps(_listed(value))
    except (rfc8785.CanonicalizationError, TypeError, ValueError, RecursionError) as error:
        raise InvalidData(f"This value has no canonical JSON form: {error}.") from error


def _listed(value: Any) -> Any:
    """Tuples as lists and mappings as dicts, all the way down: what dataclasses hold and JSON knows only as those."""
    if isinstance(value, dict) or hasattr(value, "keys"):
        return {key: _listed(value[key]) for key in value}
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return value


def digest(data: bytes) -> str:
    """`sha256:` and the hexadecimal SHA-256 of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """The digest of a value's canonical JSON."""
    return digest(canonical(value))


def manifest_digest(manifest: Manifest) -> str:
    """The digest that names a release."""
    return digest_of(manifest.to_dict())
