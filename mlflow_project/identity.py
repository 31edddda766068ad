"""Says who gives a command: the person who approved it in Airflow, the owner of the API key that was used, or the
operating system's user.

On a machine of one's own one can be any user. So an approval by a second person counts only with an API key: see
`by_key`.
"""

from __future__ import annotations

import os
import pwd

from mlflow_project.api_keys import KeyFile, by_id, owner_of
from mlflow_project.errors import Refused
from mlflow_project.settings import ClientSettings, KeySettings

_KEY = "key:"


def current_identity(client: ClientSettings, keys: KeySettings) -> str:
    """The identity that records name: `airflow:<name>` if Airflow says who approved, `key:<owner>` if the settings have
    an API key, otherwise `user:<name>`.

    Raises:
        Refused: the API key was revoked, or belongs to another stack.
    """
    if client.airflow_person is not None:
        return f"airflow:{client.airflow_person}"
    if client.api_key is None:
        return f"user:{_user()}"
    file = KeyFile(keys.api_keys_file)
    key = owner_of(client.api_key.get_secret_value(), by_id(file.all()))
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
    """The process's real user, which no environment variable changes."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
