"""Who may call the server: API keys, hashed at rest, each with its roles.

A key is `sy_<id>_<secret>`; the file keeps the SHA-256 of the whole, which is enough for 256 random bits. The key
itself is shown once, when it is created. In: the key file. Out: the key that a token belongs to, or None.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow_project.domain.times import utc_text
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.private_files import exclusive, write_private

PEOPLE = ("viewer", "reviewer", "operator", "approver")
"""The roles of people: `viewer` reads the console; `reviewer` also judges answers; `operator` also moves traffic,
evaluates and seals; `approver` also approves versions."""
ROLES = ("call", "choose-alias", *PEOPLE, "admin")
"""`call` and `choose-alias` are for callers of the server. `admin` may do everything."""
KEYS_SCHEMA = "switchyard.keys/v1"


@dataclass(frozen=True)
class ApiKey:
    """What the file keeps of a key. `revoked` is the time of its revocation, or None while the key is valid. `limits`
    are the key's own limits by kind (see `allowances`), where they differ from the server's."""

    id: str
    owner: str
    roles: tuple[str, ...]
    hash: str
    created: str
    revoked: str | None = None
    limits: Mapping[str, str] = field(default_factory=dict, hash=False)

    def may(self, role: str) -> bool:
        """Whether this key allows what the role stands for. The role `admin` allows everything."""
        return role in self.roles or "admin" in self.roles

    @property
    def is_a_callers(self) -> bool:
        """Whether this key was made for a caller of the server. As soon as one was, the server asks for keys."""
        return any(role not in PEOPLE for role in self.roles)

    @property
    def is_a_persons(self) -> bool:
        """Whether this key has a role of people, so that one can sign in to the console with it."""
        return any(role in PEOPLE or role == "admin" for role in self.roles)


class KeyFile:
    """The file of all keys, newest last. Only its owner can read it. Each change takes the file's lock, reads the file
    anew and replaces it, so that two commands at the same moment both count."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> tuple[ApiKey, ...]:
        """Return every key, revoked ones included; none while there is no file.

        Raises:
            InvalidData: the file cannot be read or is damaged.
        """
        try:
            data = json.loads(self.path.read_bytes())
            return tuple(ApiKey(**{**item, "roles": tuple(item["roles"])}) for item in data["keys"])
        except FileNotFoundError:
            return ()
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InvalidData(f"The key file {self.path} cannot be read: {error}.") from error

    def create(self, owner: str, roles: tuple[str, ...], limits: Mapping[str, str] | None = None) -> tuple[str, ApiKey]:
        """Make a key. Returns the token, which nothing can show again, and what the file keeps of it.

        Raises:
            InvalidData: a role does not exist, or none was given.
        """
        unknown = [role for role in roles if role not in ROLES]
        if unknown or not roles:
            raise InvalidData(f"There is no role {', '.join(unknown) or '(none given)'}. Roles: {', '.join(ROLES)}.")
        made = ApiKey(secrets.token_hex(4), owner, roles, "", _now(), limits=dict(limits or {}))
        token = f"sy_{made.id}_{secrets.token_urlsafe(32)}"
        kept = ApiKey(**{**asdict(made), "hash": _hash(token)})
        with exclusive(self.path):
            self._write((*self.all(), kept))
        return token, kept

    def revoke(self, key_id: str) -> ApiKey:
        """Make a key invalid for good. Revoking it twice keeps the first time.

        Raises:
            NotFound: no key has this id.
        """
        with exclusive(self.path):
            keys = {key.id: key for key in self.all()}
            if key_id not in keys:
                raise NotFound(f"There is no API key {key_id!r}. `switchyard keys list` shows all.")
            if keys[key_id].revoked is None:
                keys[key_id] = ApiKey(**{**asdict(keys[key_id]), "revoked": _now()})
                self._write(tuple(keys.values()))
            return keys[key_id]

    def _write(self, keys: tuple[ApiKey, ...]) -> None:
        data = {"schema": KEYS_SCHEMA, "keys": [asdict(key) for key in keys]}
        write_private(self.path, json.dumps(data, indent=1))


def by_id(keys: tuple[ApiKey, ...]) -> Mapping[str, ApiKey]:
    """Return the valid keys by their id."""
    return {key.id: key for key in keys if key.revoked is None}


def owner_of(token: str, keys: Mapping[str, ApiKey]) -> ApiKey | None:
    """Return the valid key that a token belongs to, or None. Hashes are compared in constant time."""
    parts = token.split("_", 2)
    key = keys.get(parts[1]) if len(parts) == 3 and parts[0] == "sy" else None
    return key if key is not None and hmac.compare_digest(key.hash, _hash(token)) else None


def shown(key: ApiKey) -> dict[str, Any]:
    """Return what a command may show of a key: everything but the hash."""
    return {name: value for name, value in asdict(key).items() if name != "hash"}


def _hash(token: str) -> str:
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def _now() -> str:
    return utc_text(datetime.now(UTC), timespec="seconds")
