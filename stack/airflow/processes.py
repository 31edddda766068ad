"""Start, ask and stop Airflow's three processes. Airflow itself is asked whether it is ready."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow_project.adapters.airflow import Airflow, airflow_settings
from mlflow_project.errors import ConfigError, Unavailable, WorkspaceError
from mlflow_project.private_files import exclusive
from mlflow_project.settings import state_folder
from stack.airflow import home
from stack.airflow.environment import ROOT, programs
from stack.ports import holder, is_free
from stack.supervision import Supervisor

PARTS = ("scheduler", "dag-processor", "api-server")
READY_SECONDS = 300.0

_SUPERVISOR_FILE = Path(__file__).with_name("supervisord.conf")


def supervisor_of(state: Path) -> Supervisor:
    """The process manager of Airflow, beside that of the stack."""
    return Supervisor(state, _SUPERVISOR_FILE, "airflow")


def dag_names() -> set[str]:
    """The DAGs of this repository: one in each file of `dags/` but the helper module, and named like it."""
    return {path.stem for path in (ROOT / "dags").glob("*.py")} - {"switchyard_commands"}


def addresses() -> dict[str, str]:
    """Where each process is found, for people."""
    return {"api-server": f"http://127.0.0.1:{home.port()}"}


def start(say: Callable[[str], None]) -> None:
    """Start what is not running, and return when Airflow has read the DAGs.

    Raises:
        ConfigError: another process holds the port.
        Unavailable: Airflow did not become ready; the message says where its logs are.
    """
    with exclusive(home.home() / "start"):
        supervisor = supervisor_of(state_folder())
        if not supervisor.processes():
            _check_port()
            home.make()
            say("Airflow's database is brought up to date")
            _airflow("db", "migrate")
            say("Airflow's processes start")
            supervisor.launch({**home.environment(), "SWITCHYARD_ROOT": str(ROOT)}, cwd=ROOT)
        home.write_address()
        _wait_until_ready(say)


def stop(state: Path) -> bool:
    """Stop Airflow. Returns whether it ran."""
    home.address_file(state).unlink(missing_ok=True)
    return supervisor_of(state).shut_down()


def state() -> dict[str, Any]:
    """What Airflow says of itself: each part's health, the DAGs, and the files that it could not read."""
    airflow = Airflow(airflow_settings())
    health = airflow.get("monitor/health")
    return {
        "parts": {part: health[part]["status"] for part in ("metadatabase", "scheduler", "dag_processor")},
        "dags": sorted(row["dag_id"] for row in airflow.get("dags")["dags"]),
        "paused": sorted(row["dag_id"] for row in airflow.get("dags", paused=True)["dags"]),
        "import_errors": [row["stack_trace"] for row in airflow.get("importErrors")["import_errors"]],
    }


def unpause_all() -> None:
    """Let every DAG start by its schedule and by events."""
    airflow = Airflow(airflow_settings())
    for name in sorted(dag_names()):
        airflow.patch(f"dags/{name}", {"is_paused": False})


def is_healthy(part: str) -> bool:
    """Whether Airflow says that one of its processes is well; the API server is, when it answers."""
    try:
        return part == "api-server" or state()["parts"][part.replace("-", "_")] == "healthy"
    except WorkspaceError:
        return False


def _airflow(*arguments: str) -> None:
    log = home.home() / "logs" / "setup.log"
    with log.open("ab") as out:
        done = subprocess.run(
            [programs() / "airflow", *arguments], env=home.environment(), cwd=ROOT, stdout=out, stderr=out, umask=0o077
        )
    if done.returncode != 0:
        raise Unavailable(f"`airflow {' '.join(arguments)}` failed; {log} says why.")


def _wait_until_ready(say: Callable[[str], None]) -> None:
    started = said = time.monotonic()
    while time.monotonic() - started < READY_SECONDS:
        missing = _missing()
        if not missing:
            return
        if time.monotonic() - said > 10:
            said = time.monotonic()
            say(f"  waiting for {missing}, {said - started:.0f} s")
        time.sleep(0.5)
    raise Unavailable(
        f"Airflow is not ready after {READY_SECONDS:.0f} s: {_missing()} is missing. Its logs: {home.home() / 'logs'}."
    )


def _missing() -> str:
    """The first thing that is not there yet; empty when Airflow is ready."""
    try:
        now = state()
    except WorkspaceError:
        return "the REST API"
    if now["import_errors"]:
        raise Unavailable("Airflow cannot read a DAG file:\n" + "\n".join(now["import_errors"]))
    ill = [part for part, status in now["parts"].items() if status != "healthy"]
    return ", ".join(ill + sorted(dag_names() - set(now["dags"])))


def _check_port() -> None:
    if not is_free(home.port()):
        raise ConfigError(
            f"Port {home.port()}, where Airflow is to listen, is taken by {holder(home.port())}. "
            "Stop that, or choose another by SWITCHYARD_AIRFLOW_PORT."
        )
