"""The local stack's own settings: ports, MLflow's backend, credentials; and `<state>/stack.env`, where they are kept.

The file is what other terminals, Spark and every `switchyard` command read: lines `export NAME=value`, readable by its
owner only. Credentials are made once; ports stay as they were until the environment says otherwise.
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlflow_project.errors import ConfigError
from mlflow_project.settings import load


class StackSettings(BaseSettings):
    """What `make up` may be told. `mlflow_backend` moves MLflow from SQLite to PostgreSQL
    (`postgresql+psycopg2://user:password@host/database`)."""

    model_config = SettingsConfigDict(env_prefix="SWITCHYARD_", extra="ignore", env_ignore_empty=True)

    minio_port: int = Field(default=9000, ge=1, le=65535)
    minio_console_port: int = Field(default=9001, ge=1, le=65535)
    mlflow_port: int = Field(default=5000, ge=1, le=65535)
    api_port: int = Field(default=8000, ge=1, le=65535)
    mlflow_backend: SecretStr | None = None
    s3_access_key: SecretStr = Field(default_factory=lambda: SecretStr(secrets.token_hex(10)))
    s3_secret_key: SecretStr = Field(default_factory=lambda: SecretStr(secrets.token_hex(24)))


def read_settings(state: Path) -> StackSettings:
    """The settings, with credentials made where there are none yet.

    Raises:
        ConfigError: wrong settings, or a credentials file that cannot be read.
    """
    read_environment(state)
    return load(StackSettings)


def environment(state: Path, settings: StackSettings) -> dict[str, str]:
    """What stands in `stack.env`."""
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
        "MLFLOW_TRACKING_URI": mlflow,
        "SPARK_CONF_DIR": str(state / "spark" / "conf"),
    }


def environment_file(state: Path) -> Path:
    """Where the local stack's addresses and credentials are kept."""
    return state / "stack.env"


def read_environment(state: Path) -> dict[str, str]:
    """What `stack.env` holds; empty before the first `make up`.

    Raises:
        ConfigError: it is there and cannot be read.
    """
    path = environment_file(state)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        words = [word for line in lines if line.startswith("export ") for word in shlex.split(line)[1:]]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no list of `export NAME=value`"
        raise ConfigError(
            f"The credentials file {path} cannot be read ({reason}): make it yours and readable again "
            "(`chown`, `chmod 600`), or `make clean` and begin with an empty stack."
        ) from error
    return dict(word.split("=", 1) for word in words if "=" in word)


def write_environment(state: Path, settings: StackSettings) -> dict[str, str]:
    """Write `stack.env`, and return what stands in it."""
    values = environment(state, settings)
    write_values(state, values)
    return values


def write_values(state: Path, values: Mapping[str, str]) -> None:
    """Replace what stands in `stack.env`."""
    head = "# Addresses and credentials of the local stack, written by `make up`. Yours alone: do not share it.\n"
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
    write_private(environment_file(state), head + "".join(lines))


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner can read.

    Raises:
        ConfigError: it cannot be written.
    """
    own = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        own.unlink(missing_ok=True)
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        own.replace(path)
    except OSError as error:
        own.unlink(missing_ok=True)
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}): is the disk full, or the folder not yours?"
        ) from error
