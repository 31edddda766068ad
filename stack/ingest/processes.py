"""Start, ask and stop Kafka, the ingestion service and the writer.

In: a running stack. Out: three more processes on 127.0.0.1, which `make down` stops too, since they carry its mark; and
Kafka's address and the service's in `stack.env`, which commands read.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlflow_project.errors import ConfigError, Unavailable
from mlflow_project.settings import KafkaSettings, StoreSettings, load
from stack.addresses import change_environment, read_environment
from stack.ingest import kafka
from stack.layout import ROOT, jar_folder
from stack.ports import check_each
from stack.spark_conf import write_spark_conf
from stack.supervision import Supervisor

Say = Callable[[str], None]

SUPERVISOR_FILE = Path(__file__).with_name("supervisord.conf")
PARTS = ("kafka", "ingestion", "writer")
"""In the order in which they are started."""
PATIENCE = 90.0
OWNERS = {"kafka_port": "kafka", "kafka_controller_port": "kafka", "ingest_port": "ingestion"}
TOLD = ("SWITCHYARD_KAFKA_BROKERS", "SWITCHYARD_INGEST_URL", *(f"SWITCHYARD_{name.upper()}" for name in OWNERS))
"""The names in `stack.env` while they run."""


class IngestPorts(BaseSettings):
    """The ports of Kafka, of its controller, and of the ingestion service."""

    model_config = SettingsConfigDict(env_prefix="SWITCHYARD_", extra="ignore", env_ignore_empty=True)

    kafka_port: int = Field(default=9092, ge=1, le=65535)
    kafka_controller_port: int = Field(default=9093, ge=1, le=65535)
    ingest_port: int = Field(default=8002, ge=1, le=65535)


def supervisor_of(state: Path) -> Supervisor:
    """The process manager of these parts, beside that of the stack."""
    return Supervisor(state, SUPERVISOR_FILE, "ingest")


def up(state: Path, parts: Sequence[str] = PARTS, *, say: Say, more: Sequence[str] = ()) -> None:
    """Start these parts unless they run, wait until each is ready, and create the topics.

    Args:
        more: lines of the broker's configuration that win over those of `kafka.configure`.

    Raises:
        ConfigError: the stack does not run, or a port is taken; nothing was started.
        Unavailable: a part does not become ready.
    """
    if "writer" in parts and "minio" not in Supervisor(state).processes():
        raise ConfigError("The stack does not run: `make up` starts it, `make ingest` does both.")
    ports = load(IngestPorts)
    supervisor = supervisor_of(state)
    if not supervisor.processes():
        check_each({name: getattr(ports, name) for name in OWNERS}, OWNERS)
        file = kafka.configure(state, ports.kafka_port, ports.kafka_controller_port, more)
        change_environment(state, _told(ports))
        supervisor.launch(_child_environment(state, ports, file))
    if "writer" in parts:
        write_spark_conf(state, load(StoreSettings), jar_folder())
    for part in parts:
        supervisor.start(part)
        _await(supervisor, part, ports)
        say(f"{part:10} ready  {addresses(ports)[part]}")
        if part == "kafka":
            _make_topics(ports)


def down(state: Path) -> bool:
    """Stop all of them. Returns whether they ran."""
    ran = supervisor_of(state).shut_down()
    with contextlib.suppress(ConfigError):  # a file that cannot be read names no address
        if TOLD[0] in read_environment(state):
            change_environment(state, {}, remove=TOLD)
    return ran


def addresses(ports: IngestPorts) -> dict[str, str]:
    """The address of each, for people."""
    return {
        "kafka": f"127.0.0.1:{ports.kafka_port}",
        "ingestion": f"http://127.0.0.1:{ports.ingest_port}",
        "writer": "",
    }


def is_ready(part: str, ports: IngestPorts) -> bool:
    """Ask one part, once. The writer has no port: it is ready while it runs."""
    if part == "kafka":
        try:
            socket.create_connection(("127.0.0.1", ports.kafka_port), timeout=2).close()
        except OSError:
            return False
        return True
    return part == "writer" or _answers(f"{addresses(ports)[part]}/health/live")


def _told(ports: IngestPorts) -> dict[str, str]:
    at = addresses(ports)
    return dict(zip(TOLD, (at["kafka"], at["ingestion"], *(str(getattr(ports, name)) for name in OWNERS)), strict=True))


def _child_environment(state: Path, ports: IngestPorts, file: Path) -> Mapping[str, str]:
    return {
        **os.environ,
        **read_environment(state),
        **_told(ports),
        "SWITCHYARD_KAFKA_COMMAND": shlex.join(kafka.command(state, file)).replace("%", "%%"),
        "SWITCHYARD_JOBS": str(ROOT / "spark_jobs"),
        "PYTHONUNBUFFERED": "1",
    }


def _make_topics(ports: IngestPorts) -> None:
    """Create the topics of `schemas/topics.yaml`. A broker that has just begun to listen needs a moment."""
    from mlflow_project.adapters.kafka import Cluster
    from mlflow_project.adapters.schema_folder import read_topics

    settings = load(KafkaSettings, kafka_brokers=addresses(ports)["kafka"])
    plans = read_topics(settings.schemas_folder)
    deadline = time.monotonic() + 30
    while True:
        try:
            Cluster(settings).apply(plans)
            return
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _await(supervisor: Supervisor, part: str, ports: IngestPorts) -> None:
    deadline = time.monotonic() + PATIENCE
    while supervisor.processes().get(part, {}).get("statename") != "RUNNING" or not is_ready(part, ports):
        if time.monotonic() > deadline or supervisor.processes().get(part, {}).get("statename") == "FATAL":
            log = supervisor.state / "logs" / f"{part}.log"
            tail = log.read_text(errors="replace").splitlines()[-10:] if log.exists() else ["(no log)"]
            raise Unavailable("\n  ".join([f"{part} does not become ready; the end of {log}:", *tail]))
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
