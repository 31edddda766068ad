"""Start, ask and stop Airflow's processes. Readiness is asked of Airflow itself; stopping is by id, never by name.

Ours is every process whose environment says AIRFLOW_HOME=<our folder>: that finds them also after a crash of the
supervisor, and never anybody else's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from mlflow_project.adapters.airflow import Airflow, airflow_settings
from mlflow_project.errors import ConfigError, Unavailable, WorkspaceError
from stack.airflow import home
from stack.airflow.environment import ROOT, programs
from stack.ports import holder, is_free

READY_SECONDS = 300.0
DAGS = {"prepare_knowledge", "evaluate_and_promote", "rollback"}


def start(say: Callable[[str], None]) -> None:
    """Start what is not running, and return when Airflow has read the DAGs.

    Raises:
        ConfigError: the port is taken by somebody else.
        Unavailable: Airflow did not become ready; the message says where its logs are.
    """
    if not running():
        _check_port()
        home.make()
        say("Airflow's database is brought up to date")
        _airflow("db", "migrate")
        say("Airflow's processes start")
        _supervise()
    home.write_address()
    _wait_until_ready(say)


def stop() -> int:
    """Stop every process of ours, politely first; how many there were."""
    home.address_file().unlink(missing_ok=True)
    found = running()
    for process in [process for process in found if _is_supervisor(process)] or found:
        _quietly(process.terminate)
    psutil.wait_procs(found, timeout=25)
    left = running()
    for process in left:
        _quietly(process.kill)
    psutil.wait_procs(left, timeout=10)
    return len(found)


def running() -> list[psutil.Process]:
    """Our processes, without this one and its ancestors."""
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process in psutil.process_iter() if process.pid not in mine and _is_ours(process)]


def state() -> dict[str, Any]:
    """What Airflow says of itself: each part's health, the DAGs, what could not be read."""
    airflow = Airflow(airflow_settings())
    health = airflow.get("monitor/health")
    return {
        "parts": {part: health[part]["status"] for part in ("metadatabase", "scheduler", "dag_processor")},
        "dags": sorted(row["dag_id"] for row in airflow.get("dags")["dags"]),
        "import_errors": [row["stack_trace"] for row in airflow.get("importErrors")["import_errors"]],
    }


def _supervise() -> None:
    supervisord = Path(sys.executable).with_name("supervisord")
    command = [str(supervisord), "-c", str(ROOT / "stack" / "airflow" / "supervisord.conf")]
    environment = {**home.environment(), "SWITCHYARD_ROOT": str(ROOT)}
    subprocess.run(command, env=environment, cwd=ROOT, check=True, stdin=subprocess.DEVNULL)


def _airflow(*arguments: str) -> None:
    log = home.home() / "logs" / "setup.log"
    with log.open("ab") as out:
        done = subprocess.run(
            [programs() / "airflow", *arguments], env=home.environment(), cwd=ROOT, stdout=out, stderr=out
        )
    if done.returncode != 0:
        raise Unavailable(f"`airflow {' '.join(arguments)}` failed; its words are in {log}.")


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
    return ", ".join(ill + sorted(DAGS - set(now["dags"])))


def _check_port() -> None:
    if not is_free(home.port()):
        raise ConfigError(
            f"Port {home.port()}, where Airflow is to listen, is taken by {holder(home.port())}. "
            "Stop that, or choose another by SWITCHYARD_AIRFLOW_PORT."
        )


def _is_ours(process: psutil.Process) -> bool:
    try:
        return process.environ().get("AIRFLOW_HOME") == str(home.home())
    except psutil.Error:
        return False


def _is_supervisor(process: psutil.Process) -> bool:
    try:
        return any(Path(word).name == "supervisord" for word in process.cmdline()[:2])
    except psutil.Error:
        return False


def _quietly(act: Callable[[], None]) -> None:
    try:
        act()
    except psutil.NoSuchProcess:
        return
