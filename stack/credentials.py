"""MinIO's credentials that only set-up and single programs hold, in `<state>/minio.env`.

`stack.env` holds what people's commands use: a user that can append to the ledger and not delete from it. `minio.env`
holds the administrator's, the follower's and MLflow's. Both files can be read by their owner alone.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path

from mlflow_project.errors import ConfigError
from mlflow_project.private_files import write_private
from stack.addresses import environment_file, read_environment, read_exports

ROLES = ("admin", "follower", "mlflow")
_KEYS = ("ACCESS_KEY", "SECRET_KEY")
_LENGTHS = {"ACCESS_KEY": 10, "SECRET_KEY": 24}


def credentials_file(state: Path) -> Path:
    """Where they are kept."""
    return state / "minio.env"


def minio_credentials(state: Path) -> dict[str, str]:
    """`SWITCHYARD_S3_<ROLE>_ACCESS_KEY` and `…_SECRET_KEY` of each role, made where there are none yet.

    In a stack from before users were told apart, the commands hold the administrator's credentials: these become the
    administrator's alone, and the commands get new ones in `stack.env`.

    Raises:
        ConfigError: a file cannot be read or written.
    """
    path = credentials_file(state)
    known = read_exports(path)
    if not known:
        known = _taken_from_commands(state)
    made = {f"SWITCHYARD_S3_{role.upper()}_{key}": secrets.token_hex(_LENGTHS[key]) for role in ROLES for key in _KEYS}
    values = made | known
    if values != known:
        head = "# MinIO's administrator, and the users of follower and MLflow. For `make up` alone: do not share it.\n"
        write_private(path, head + _lines(values))
    return values


def check_commands_are_no_administrator(access_key: str, credentials: Mapping[str, str]) -> None:
    """Whether the commands' credentials are another user's than the administrator's.

    Raises:
        ConfigError: they are the same.
    """
    if access_key == credentials["SWITCHYARD_S3_ADMIN_ACCESS_KEY"]:
        raise ConfigError(
            "SWITCHYARD_S3_ACCESS_KEY is MinIO's administrator, whose credentials could delete the ledger: take it and "
            "SWITCHYARD_S3_SECRET_KEY out of the environment and of .env (or open a new shell), and `make up` again."
        )


def _taken_from_commands(state: Path) -> dict[str, str]:
    before = read_environment(state)
    if not all(f"SWITCHYARD_S3_{key}" in before for key in _KEYS):
        return {}
    fresh = {f"SWITCHYARD_S3_{key}": secrets.token_hex(_LENGTHS[key]) for key in _KEYS}
    write_private(environment_file(state), _lines(before | fresh))
    return {f"SWITCHYARD_S3_ADMIN_{key}": before[f"SWITCHYARD_S3_{key}"] for key in _KEYS}


def _lines(values: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
