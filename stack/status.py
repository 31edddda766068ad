"""What runs: a row for each part of the stack, of Airflow, of observability and of ingestion, and one for each orphan.

In: the state folder. Out: rows of `part`, `state`, `pid`, `address`, `ready`, `memory_mb` (with all child processes).
An orphan is a process of this stack that no process manager watches any more; `make up` and `make down` end it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from mlflow_project.settings import load
from stack.addresses import read_environment
from stack.airflow import processes as airflow
from stack.ingest import processes as ingest
from stack.marks import part_of
from stack.observe import processes as observe
from stack.readiness import PARTS, addresses, is_ready
from stack.supervision import Supervisor

Row = dict[str, Any]


def status(state: Path) -> list[Row]:
    """One row for each of the stack's six parts."""
    environment = read_environment(state)
    at = addresses(environment) if environment else {}
    return list(_rows(Supervisor(state), PARTS, at, lambda part: is_ready(part, environment)))


def status_of_all(state: Path) -> list[Row]:
    """The same, followed by Prometheus, the collector, Kafka, ingestion, the writer, Airflow's processes, orphans."""
    settings = load(observe.ObserveSettings)
    ready = observe.ready(settings)
    ports = load(ingest.IngestPorts)
    return [
        *status(state),
        *_rows(observe.supervisor_of(state), tuple(ready), observe.addresses(settings), ready.__getitem__),
        *_rows(
            ingest.supervisor_of(state),
            ingest.PARTS,
            ingest.addresses(ports),
            lambda part: ingest.is_ready(part, ports),
        ),
        *_rows(airflow.supervisor_of(state), airflow.PARTS, airflow.addresses(), airflow.is_healthy),
        *(_orphan(process) for process in Supervisor(state).orphans()),
    ]


def describe(process: psutil.Process) -> str:
    """A process in words: which part it belongs to, its id, its program; never its command line, which may hold
    secrets."""
    try:
        return f"{part_of(process) or 'process manager'} (process {process.pid}, {process.name()})"
    except psutil.Error:
        return f"process {process.pid}"


def _rows(
    supervisor: Supervisor, parts: tuple[str, ...], at: Mapping[str, str], is_ready: Callable[[str], bool]
) -> Iterator[Row]:
    known = supervisor.processes()
    for part in parts:
        row = known.get(part)
        pid = (row or {}).get("pid") or None
        yield {
            "part": part,
            "state": row["statename"].lower() if row else "stopped",
            "pid": pid,
            "address": at.get(part, ""),
            "ready": bool(pid) and is_ready(part),
            "memory_mb": _memory_mb(pid) if pid else None,
        }


def _orphan(process: psutil.Process) -> Row:
    ports = ""
    with contextlib.suppress(psutil.Error):
        found = {each.laddr[1] for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
        ports = ", ".join(f"port {port}" for port in sorted(found))
    part = part_of(process) or "process manager"
    memory = _memory_mb(process.pid)
    return {"part": part, "state": "orphan", "pid": process.pid, "address": ports, "ready": False, "memory_mb": memory}


def _memory_mb(pid: int) -> float | None:
    """Resident memory of a process and all below it."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return round(sum(member.memory_info().rss for member in family) / 1e6, 1)
    return None
