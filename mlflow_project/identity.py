"""Who gives a command: the person who approved it in Airflow, the owner of the API key that was used, or the operating
system's user.

Anybody can be any user on a machine of his own, so where a second person's word counts only keys do: see `by_key`.
"""

from __future__ import annotations

import os
import pwd

from mlflow_project.api_keys import KeyFile, by_id, owner_of
from mlflow_project.errors import Refused
from mlflow_project.settings import ClientSettings, KeySettings, load

_KEY = "key:"


def current_identity(settings: ClientSettings) -> str:
    """Return the person as records name him: `airflow:<name>` where Airflow says who approved, `key:<owner>` where a
    key was given, else `user:<name>`.

    Raises:
        Refused: the key that was given is none of this stack's, or was revoked.
    """
    if settings.airflow_person is not None:
        return f"airflow:{settings.airflow_person}"
    if settings.api_key is None:
        return f"user:{_user()}"
    file = KeyFile(load(KeySettings).api_keys_file)
    key = owner_of(settings.api_key.get_secret_value(), by_id(file.all()))
    if key is None:
        raise Refused(
            f"SWITCHYARD_API_KEY is not a valid key of {file.path}: it was revoked, or belongs to another stack. "
            "`switchyard keys list` shows all."
        )
    return f"{_KEY}{key.owner}"


def by_key(who: str) -> bool:
    """Whether this identity was proven by a key."""
    return who.startswith(_KEY)


def _user() -> str:
    """By the process's real user, which no environment variable changes."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
