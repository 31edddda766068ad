"""The ingestion service as a process, in front of the session's Kafka."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer

from mlflow_project.adapters.kafka import Cluster, client_settings
from mlflow_project.adapters.schema_folder import TopicPlan
from mlflow_project.settings import KafkaSettings, load
from stack.ports import free_port
from tests.conftest import ROOT, RunningStack

STREAM_SCHEMA = """{"type": "object", "x-key": "who", "required": ["id", "who"], "properties": {
  "id": {"type": "string"}, "who": {"type": "string"}, "n": {"type": "integer"}}}"""


@dataclass
class Service:
    """A running service: its address, its process, and the topic of a stream of its own."""

    url: str
    process: subprocess.Popen[bytes]
    env: dict[str, str]
    stream: str

    @property
    def topic(self) -> str:
        return f"events.{self.stream}"

    @property
    def path(self) -> str:
        return f"{self.url}/ingest/events/{self.stream}"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "ingestion"], cwd=ROOT, env=self.env)
        _wait(self.url, self.process)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def until_direct(self, seconds: float = 60.0) -> None:
        """Wait until the spool is empty."""
        until = time.monotonic() + seconds
        while httpx.get(f"{self.url}/health/ready").json()["kafka"] != "ok":
            assert time.monotonic() < until, "the spool is not delivered"
            time.sleep(0.1)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, "the service ended"
        try:
            if httpx.get(f"{url}/health/live").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError("the service does not answer")


@contextmanager
def running_service(kafka: RunningStack, folder: Path, **settings: str) -> Iterator[Service]:
    """A service with a stream and a spool of its own."""
    stream, port = f"t{uuid.uuid4().hex[:10]}", free_port()
    schemas = folder / "schemas"
    shutil.copytree(ROOT / "schemas", schemas)
    (schemas / "events" / stream).mkdir()
    (schemas / "events" / stream / "v1.json").write_text(STREAM_SCHEMA)
    Cluster(load(KafkaSettings)).apply({f"events.{stream}": TopicPlan(partitions=2)})
    own = {
        "SWITCHYARD_INGEST_PORT": str(port),
        "SWITCHYARD_INGEST_FOLDER": str(folder / "ingestion"),
        "SWITCHYARD_SCHEMAS": str(schemas),
        "SWITCHYARD_API_KEYS_FILE": str(folder / "keys.json"),
        "SWITCHYARD_INGEST_KAFKA_SECONDS": "2",
    }
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, **kafka.env, **own, **settings}
    service = Service(url, subprocess.Popen([sys.executable, "-m", "ingestion"], cwd=ROOT, env=env), env, stream)
    try:
        _wait(url, service.process)
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()


@pytest.fixture(scope="module")
def service(kafka: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(kafka, tmp_path_factory.mktemp("ingestion")) as found:
        yield found


def records(topic: str, seconds: float = 20.0) -> list[Any]:
    """Every record of a topic up to its present end, in the order of each partition."""
    settings = load(KafkaSettings)
    ends = {n: last for n, (_, last) in Cluster(settings).offsets(topic).items()}
    own = {"group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({**client_settings(settings), **own})
    consumer.subscribe([topic])
    found: list[Any] = []
    seen = dict.fromkeys(ends, 0)
    until = time.monotonic() + seconds
    try:
        while any(seen[n] < end for n, end in ends.items()) and time.monotonic() < until:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                found.append(message)
                seen[message.partition()] = message.offset() + 1
    finally:
        consumer.close()
    return found
