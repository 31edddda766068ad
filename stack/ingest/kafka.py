"""Kafka of this machine: its jars, its configuration, its storage. One broker that is its own controller (KRaft).

In: ports and the state folder. Out: `<state>/kafka/server.properties`, formatted storage, and the words of the command.
"""

from __future__ import annotations

import base64
import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from mlflow_project.errors import Unavailable
from mlflow_project.private_files import make_private_folder, write_private
from stack.layout import cache_folder, digest
from stack.progress import Progress, Ticker, say
from stack.spark_jars import fetch, read_pins
from stack.tools import Tools

_LISTS = Path(__file__).with_name("jars")
BROKER_JARS = _LISTS / "kafka.txt"
SPARK_JARS = _LISTS / "spark.txt"
_LOGS = """\
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1}: %m%n
"""


def broker_jars() -> Path:
    """The folder of the broker's jars; it may not be there yet."""
    return cache_folder() / "kafka" / digest(BROKER_JARS)


def spark_jars() -> Path:
    """The folder of the jars with which Spark reads Kafka; it may not be there yet."""
    return cache_folder() / "jars-kafka" / digest(SPARK_JARS)


def fetch_all() -> None:
    """Fetch and verify all jars that are not there yet."""
    wanted = {"kafka": (BROKER_JARS, broker_jars()), "spark-kafka": (SPARK_JARS, spark_jars())}
    tools = Tools(cache_folder() / "logs")
    for name, (pins, folder) in wanted.items():
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            progress = Progress(name)
            with Ticker({name: progress}):
                say(f"  {name}: {fetch(read_pins(pins.read_text()), folder, progress, tools)}")


def configure(state: Path, port: int, controller_port: int, more: Sequence[str] = ()) -> Path:
    """Write the broker's configuration, and format its storage unless that was done. Returns the configuration's path.

    Args:
        more: lines of configuration that come last, so they win.

    Raises:
        Unavailable: Kafka's own tool cannot format the storage.
    """
    folder = state / "kafka"
    make_private_folder(folder)
    file = folder / "server.properties"
    write_private(folder / "log4j2.properties", _LOGS)
    write_private(file, "\n".join([*_properties(folder / "data", port, controller_port), *more]) + "\n")
    if not (folder / "data" / "meta.properties").exists():
        _format(folder, file)
    return file


def command(state: Path, file: Path, *, megabytes: int = 512) -> list[str]:
    """The words that start the broker."""
    logs = f"-Dlog4j2.configurationFile={state / 'kafka' / 'log4j2.properties'}"
    return [*_java(f"-Xmx{megabytes}m", "-XX:+UseG1GC", logs), "kafka.Kafka", str(file)]


def _properties(data: Path, port: int, controller_port: int) -> list[str]:
    return [
        "# Written by `make ingest`.",
        "process.roles=broker,controller",
        "node.id=1",
        f"controller.quorum.voters=1@127.0.0.1:{controller_port}",
        "controller.listener.names=CONTROLLER",
        f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        f"log.dirs={data}",
        "auto.create.topics.enable=false",
        "message.max.bytes=4194304",
        "offsets.topic.replication.factor=1",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1",
        "group.initial.rebalance.delay.ms=0",
    ]


def _format(folder: Path, file: Path) -> None:
    name = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    logs = f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"
    words = ["kafka.tools.StorageTool", "format", "--cluster-id", name, "--config", str(file)]
    done = subprocess.run([*_java(logs), *words], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise Unavailable(f"Kafka's storage in {folder} cannot be formatted: {' '.join(said)}")


def _java(*options: str) -> list[str]:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else "java"
    return [java, *options, "-cp", f"{broker_jars()}/*"]
