"""The local stack's own settings: ports, MLflow's backend, credentials; and `<state>/stack.env`, where they are kept.

The file is what other terminals, Spark and every `switchyard` command read: lines `export NAME=value`, readable by its
owner only. Credentials are made once; ports stay as they were until the environment says otherwise.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlflow_project.errors import ConfigError
from mlflow_project.private_files import exclusive, write_private
from mlflow_project.settings import load


def _check_backend(value: SecretStr) -> SecretStr:
    """Refuse what is no address of a database; the message does not repeat it, since it may hold a password."""
    if not re.match(r"[a-z][a-z0-9+]*://", value.get_secret_value()):
        raise ValueError("This is no database's address. Write postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE.")
    return value


class StackSettings(BaseSettings):
    """What `make up` may be told. `mlflow_backend` moves MLflow from SQLite to PostgreSQL
    (`postgresql+psycopg2://user:password@host/database`)."""

    model_config = SettingsConfigDict(env_prefix="SWITCHYARD_", extra="ignore", env_ignore_empty=True)

    minio_port: int = Field(default=9000, ge=1, le=65535)
    minio_console_port: int = Field(default=9001, ge=1, le=65535)
    mlflow_port: int = Field(default=5000, ge=1, le=65535)
    api_port: int = Field(default=8000, ge=1, le=65535)
    console_port: int = Field(default=8001, ge=1, le=65535)
    mlflow_backend: Annotated[SecretStr, AfterValidator(_check_backend)] | None = None
    s3_access_key: SecretStr = Field(default_factory=lambda: SecretStr(secrets.token_hex(10)))
    s3_secret_key: SecretStr = Field(default_factory=lambda: SecretStr(secrets.token_hex(24)))


def read_settings(state: Path) -> StackSettings:
    """Read the settings, with new credentials where there are none yet.

    Raises:
        ConfigError: wrong settings, or a credentials file that cannot be read.
    """
    read_environment(state)
    return load(StackSettings)


def environment(state: Path, settings: StackSettings) -> dict[str, str]:
    """Return the addresses and credentials that `stack.env` holds."""
    minio, mlflow = f"http://127.0.0.1:{settings.minio_port}", f"http://127.0.0.1:{settings.mlflow_port}"
    return {
        "SWITCHYARD_STATE": str(state),
        "SWITCHYARD_MINIO_PORT": str(settings.minio_port),
        "SWITCHYARD_MINIO_CONSOLE_PORT": str(settings.minio_console_port),
        "SWITCHYARD_MLFLOW_PORT": str(settings.mlflow_port),
        "SWITCHYARD_API_PORT": str(settings.api_port),
        "SWITCHYARD_S3_ENDPOINT": minio,
        "SWITCHYARD_S3_CONSOLE": f"http://127.0.0.1:{settings.minio_console_port}",
        "SWITCHYARD_S3_ACCESS_KEY": settings.s3_access_key.get_secret_value(),
        "SWITCHYARD_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        "SWITCHYARD_MLFLOW_URI": mlflow,
        "SWITCHYARD_API_URL": f"http://127.0.0.1:{settings.api_port}",
        "SWITCHYARD_CONSOLE_PORT": str(settings.console_port),
        "SWITCHYARD_CONSOLE_URL": f"http://127.0.0.1:{settings.console_port}",
        "MLFLOW_TRACKING_URI": mlflow,
        "SPARK_CONF_DIR": str(state / "spark" / "conf"),
    }


def environment_file(state: Path) -> Path:
    """The path of `stack.env`."""
    return state / "stack.env"


def sourcing(state: Path) -> str:
    """What to type to bring the stack's settings into a shell and into the programs that it starts."""
    return f". {shlex.quote(str(environment_file(state)))}"


def read_environment(state: Path) -> dict[str, str]:
    """Read `stack.env`. Returns nothing before the first `make up`.

    Raises:
        ConfigError: the file exists and cannot be read.
    """
    return read_exports(environment_file(state))


def read_exports(path: Path) -> dict[str, str]:
    """Read a file of lines `export NAME=value`. Returns nothing if there is no file.

    Raises:
        ConfigError: the file exists and cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        words = [word for line in lines if line.startswith("export ") for word in shlex.split(line)[1:]]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its lines are not `export NAME=value`"
        raise ConfigError(
            f"The credentials file {path} cannot be read ({reason}): make it yours and readable again "
            "(`chown`, `chmod 600`), or `make clean` and begin with an empty stack."
        ) from error
    return dict(word.split("=", 1) for word in words if "=" in word)


def write_environment(state: Path, settings: StackSettings) -> dict[str, str]:
    """Write `stack.env` anew, and return what it says."""
    values = environment(state, settings)
    with exclusive(environment_file(state)):
        _write(state, values)
    return values


def change_environment(state: Path, add: Mapping[str, str], remove: Collection[str] = ()) -> bool:
    """Add names to `stack.env` and take others away; False when it said all of that already."""
    with exclusive(environment_file(state)):
        before = read_environment(state)
        after = {name: value for name, value in before.items() if name not in remove} | dict(add)
        if after == before:
            return False
        _write(state, after)
        return True


def _write(state: Path, values: Mapping[str, str]) -> None:
    head = "# Addresses and credentials of the local stack, written by `make up`. Yours alone: do not share it.\n"
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
    write_private(environment_file(state), head + "".join(lines))
