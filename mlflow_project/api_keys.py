"""Who may call the server: API keys, hashed at rest, each with its roles.

A key is `sy_<id>_<secret>`; the file keeps the SHA-256 of the whole, which is enough for 256 random bits. The key
itself is shown once, when it is created. In: the key file. Out: the caller that a token belongs to, or None.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow_project.errors import InvalidData, NotFound

ROLES = ("call", "choose-alias", "admin")
KEYS_SCHEMA = "switchyard.keys/v1"


@dataclass(frozen=True)
class ApiKey:
    """What is kept of a key. `revoked` is when, or None while it is valid; `limits` are its own (see `allowances`), by
    kind, where they differ from the server's."""

    id: str
    owner: str
    roles: tuple[str, ...]
    hash: str
    created: str
    revoked: str | None = None
    limits: Mapping[str, str] = field(default_factory=dict, hash=False)

    def may(self, role: str) -> bool:
        """An admin may everything."""
        return role in self.roles or "admin" in self.roles


class KeyFile:
    """The keys of this stack, newest last. Every change replaces the file, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> tuple[ApiKey, ...]:
        """Every key, revoked ones included; none while there is no file.

        Raises:
            InvalidData: the file is damaged.
        """
        try:
            data = json.loads(self.path.read_bytes())
            return tuple(ApiKey(**{**item, "roles": tuple(item["roles"])}) for item in data["keys"])
        except FileNotFoundError:
            return ()
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InvalidData(f"The key file {self.path} cannot be read: {error}.") from error

    def create(self, owner: str, roles: tuple[str, ...], limits: Mapping[str, str] | None = None) -> tuple[str, ApiKey]:
        """A new key: the token, which nobody can show again, and what is kept of it."""
        unknown = [role for role in roles if role not in ROLES]
        if unknown or not roles:
            raise InvalidData(f"There is no role {', '.join(unknown) or '(none given)'}. Roles: {', '.join(ROLES)}.")
        made = ApiKey(secrets.token_hex(4), owner, roles, "", _now(), limits=dict(limits or {}))
        token = f"sy_{made.id}_{secrets.token_urlsafe(32)}"
        kept = ApiKey(**{**asdict(made), "hash": _hash(token)})
        self._write((*self.all(), kept))
        return token, kept

    def revoke(self, key_id: str) -> ApiKey:
        """From now on this key opens nothing.

        Raises:
            NotFound: no key has this id.
        """
        keys = {key.id: key for key in self.all()}
        if key_id not in keys:
            raise NotFound(f"There is no API key {key_id!r}. `switchyard keys list` shows all.")
        if keys[key_id].revoked is None:
            keys[key_id] = ApiKey(**{**asdict(keys[key_id]), "revoked": _now()})
            self._write(tuple(keys.values()))
        return keys[key_id]

    def _write(self, keys: tuple[ApiKey, ...]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        spare = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        data = json.dumps({"schema": KEYS_SCHEMA, "keys": [asdict(key) for key in keys]}, indent=1)
        with open(os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(data)
        os.replace(spare, self.path)


def by_id(keys: tuple[ApiKey, ...]) -> Mapping[str, ApiKey]:
    """The valid keys."""
    return {key.id: key for key in keys if key.revoked is None}


def owner_of(token: str, keys: Mapping[str, ApiKey]) -> ApiKey | None:
    """The valid key that this token is; compared in constant time."""
    parts = token.split("_", 2)
    key = keys.get(parts[1]) if len(parts) == 3 and parts[0] == "sy" else None
    return key if key is not None and hmac.compare_digest(key.hash, _hash(token)) else None


def shown(key: ApiKey) -> dict[str, Any]:
    """What may be shown of a key: all but its hash."""
    return {name: value for name, value in asdict(key).items() if name != "hash"}


def _hash(token: str) -> str:
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
