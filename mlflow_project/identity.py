"""Says who gives a command: the person who approved it in Airflow, the owner of the API key that was used, or the
operating system's user. Says also what this person may do.

On a machine of one's own one can be any user. So an approval by a second person counts only with an API key: see
`by_key`.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from functools import cached_property

from mlflow_project.api_keys import ApiKey, KeyFile, by_id, owner_of
from mlflow_project.errors import Refused
from mlflow_project.settings import ClientSettings, KeySettings

_KEY = "key:"
APPROVER, OPERATOR, REVIEWER = "approver", "operator", "reviewer"


@dataclass(frozen=True)
class Identity:
    """Who gives a command. `name` is what records say: `key:<owner>`, `user:<name>` or `airflow:<name>`.

    `roles` are those of the API key. None: this person has no key, or one without a role of people; the credentials for
    MLflow and the object store alone decide what can be done.
    """

    name: str
    roles: frozenset[str] | None = None

    @classmethod
    def of_key(cls, key: ApiKey) -> Identity:
        """The owner of a key."""
        return cls(f"{_KEY}{key.owner}", frozenset(key.roles) if key.is_a_persons else None)

    def may(self, role: str) -> bool:
        """Whether this person may do what the role stands for."""
        return self.roles is None or role in self.roles or "admin" in self.roles

    def demand(self, role: str) -> None:
        """Check that this person has a role.

        Raises:
            Refused: the person has not.
        """
        if not self.may(role):
            has = ", ".join(sorted(self.roles or ()))
            raise Refused(
                f"{self.name} may not do this: it needs the role `{role}`, and this API key has {has}. "
                f"`switchyard keys create OWNER --role {role}` makes a key that may."
            )


class Caller:
    """Who gives a command, found out when it is first needed: a command that only reads works with a revoked key."""

    def __init__(self, client: ClientSettings, keys: KeySettings, acting: Identity | None = None) -> None:
        """`acting` is a person whom the program knows already, and in whose name it acts."""
        self._client, self._keys, self._acting = client, keys, acting

    @cached_property
    def identity(self) -> Identity:
        """The person.

        Raises:
            Refused: the API key in the settings is not valid.
        """
        return self._acting or current_identity(self._client, self._keys)

    def check_record(self, kind: str) -> None:
        """Check that this person may write a record of this type into the ledger. Every change is one.

        Raises:
            Refused: the person may not.
        """
        self.identity.demand(APPROVER if kind == "approval" else OPERATOR)


def current_identity(client: ClientSettings, keys: KeySettings) -> Identity:
    """The identity that records name: `airflow:<name>` if Airflow says who approved, `key:<owner>` if the settings have
    an API key, otherwise `user:<name>`.

    Raises:
        Refused: the API key was revoked, or belongs to another stack.
    """
    if client.airflow_person is not None:
        return Identity(f"airflow:{client.airflow_person}")
    if client.api_key is None:
        return Identity(f"user:{_user()}")
    file = KeyFile(keys.api_keys_file)
    key = owner_of(client.api_key.get_secret_value(), by_id(file.all()))
    if key is None:
        raise Refused(
            f"SWITCHYARD_API_KEY is not a valid key of {file.path}: it was revoked, or belongs to another stack. "
            "`switchyard keys list` shows all."
        )
    return Identity.of_key(key)


def by_key(who: str) -> bool:
    """Whether this identity was proven by a key."""
    return who.startswith(_KEY)


def _user() -> str:
    """The process's real user, which no environment variable changes."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
