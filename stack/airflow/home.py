"""Airflow's folder `<state>/airflow`, its credentials, and the environment of its processes.

Credentials are made on the first run, in files that only their owner can read.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlflow_project.private_files import write_private
from mlflow_project.settings import load, state_folder
from stack.airflow.environment import ROOT, programs

USER = "switchyard"


class AirflowPort(BaseSettings):
    """Where Airflow's web page and REST API listen."""

    model_config = SettingsConfigDict(env_prefix="SWITCHYARD_", extra="ignore", env_ignore_empty=True)

    airflow_port: int = Field(default=8080, ge=1, le=65535)


def home(state: Path | None = None) -> Path:
    """`<state>/airflow`."""
    return (state or state_folder()) / "airflow"


def port() -> int:
    """The port of Airflow's web page and REST API.

    Raises:
        ConfigError: the setting is no port.
    """
    return load(AirflowPort).airflow_port


def make() -> None:
    """Make the folders and, on the first run, the credentials."""
    for folder in (home(), home() / "logs", home() / "lineage"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _secrets_file().exists():
        made = {name: secrets.token_urlsafe(32) for name in ("password", "jwt", "session")}
        made["fernet"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        write_private(_secrets_file(), json.dumps(made))
    write_private(_passwords_file(), json.dumps({USER: _secrets()["password"]}))


def write_address() -> None:
    """Tell the command line where Airflow is. `stop` removes the file, so that no command waits for an Airflow that is
    down."""
    lines = {
        "SWITCHYARD_AIRFLOW_URL": f"http://127.0.0.1:{port()}",
        "SWITCHYARD_AIRFLOW_USER": USER,
        "SWITCHYARD_AIRFLOW_PASSWORD": _secrets()["password"],
    }
    write_private(address_file(), "".join(f"export {name}={value}\n" for name, value in lines.items()))


def address_file(state: Path | None = None) -> Path:
    """The file that `adapters.airflow` reads, and that a person may `source`."""
    return home(state) / "airflow.env"


def environment() -> dict[str, str]:
    """Return the environment of every Airflow process, and so of every task."""
    url = f"http://127.0.0.1:{port()}"
    return {
        **os.environ,
        "SWITCHYARD_STATE": str(state_folder()),
        "SWITCHYARD_ANNOUNCE_CANDIDATES": "false",  # the DAG that registers a version judges it itself
        "SPARK_CONF_DIR": str(state_folder() / "spark" / "conf"),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), str(programs()), os.environ.get("PATH", ""))),
        "AIRFLOW_HOME": str(home()),
        "SPT_NOENV": "1",  # else process titles overwrite the environment, by which `stack.marks` knows our processes
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(
            {"conn_type": "spark", "host": os.environ.get("SWITCHYARD_SPARK_MASTER", "local[*]")}
        ),
        **{f"AIRFLOW__{name}": value for name, value in _options(url).items()},
    }


def _options(url: str) -> dict[str, str]:
    kept = _secrets()
    lineage = {"type": "file", "log_file_path": str(home() / "lineage" / "events.jsonl"), "append": True}
    return {
        "CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_passwords_file()),
        "CORE__FERNET_KEY": kept["fernet"],
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port()),
        "API__WORKERS": "1",
        "API__BASE_URL": url,
        "API__SECRET_KEY": kept["session"],
        "API_AUTH__JWT_SECRET": kept["jwt"],
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home() / 'airflow.db'}",
        "LOGGING__BASE_LOG_FOLDER": str(home() / "logs"),
        "OPENLINEAGE__TRANSPORT": json.dumps(lineage),
        "OPENLINEAGE__NAMESPACE": "switchyard",
        "OPENLINEAGE__SPARK_INJECT_PARENT_JOB_INFO": "True",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def _secrets_file() -> Path:
    return home() / "secrets.json"


def _passwords_file() -> Path:
    return home() / "passwords.json"


def _secrets() -> dict[str, str]:
    read: dict[str, str] = json.loads(_secrets_file().read_text())
    return read
