"""Start, ask and stop Prometheus and the collector, and tell the server to send to them.

In: a running stack. Out: two more processes on 127.0.0.1, which `make down` stops too, since they carry its mark; and
`OTEL_EXPORTER_OTLP_ENDPOINT` in `stack.env`, which the server reads when it starts.
"""

from __future__ import annotations

import contextlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlflow_project.errors import ConfigError, Unavailable
from mlflow_project.settings import load
from stack.addresses import change_environment, read_environment
from stack.observe import programs
from stack.ports import check_each
from stack.readiness import wait_until_ready
from stack.supervision import Supervisor

Say = Callable[[str], None]

SUPERVISOR_FILE = Path(__file__).with_name("supervisord.conf")
OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"
PATIENCE = 30.0
OWNERS = {"prometheus_port": "prometheus", "otlp_port": "collector", "collector_health_port": "collector"}
TOLD = (OTLP, "SWITCHYARD_PROMETHEUS_URL", *(f"SWITCHYARD_{name.upper()}" for name in OWNERS))
"""The names in `stack.env` while they run."""


class ObserveSettings(BaseSettings):
    """The ports of Prometheus, of the collector (OTLP over HTTP), and of the collector's health check."""

    model_config = SettingsConfigDict(env_prefix="SWITCHYARD_", extra="ignore", env_ignore_empty=True)

    prometheus_port: int = Field(default=9090, ge=1, le=65535)
    otlp_port: int = Field(default=4318, ge=1, le=65535)
    collector_health_port: int = Field(default=13133, ge=1, le=65535)


def supervisor_of(state: Path) -> Supervisor:
    """The process manager of Prometheus and the collector, beside that of the stack."""
    return Supervisor(state, SUPERVISOR_FILE, "observe")


def up(state: Path, *, say: Say) -> None:
    """Start both unless they run, wait until each is ready, and have the server send to them.

    Raises:
        ConfigError: the stack does not run, or a port is taken; nothing was started.
        Unavailable: one of them does not become ready.
    """
    stack = Supervisor(state)
    if "server" not in stack.processes():
        raise ConfigError("The stack does not run: `make up` starts it, `make observe` does both.")
    settings = load(ObserveSettings)
    supervisor = supervisor_of(state)
    if not supervisor.processes():
        check_each({name: getattr(settings, name) for name in OWNERS}, OWNERS)
        supervisor.launch(_child_environment(state, settings))
    for part, url in _health(settings).items():
        supervisor.start(part)
        _await(supervisor, part, url)
        say(f"{part:10} ready  {addresses(settings)[part]}")
    if change_environment(state, _told(settings)):
        say("Follower, server, guard and console start again, to send their metrics there or to show them.")
        running = [part for part, row in stack.processes().items() if row["statename"] == "RUNNING"]
        for part in ("follower", "server", "guard", "console"):
            if part in running:
                stack.restart(part)
        _await_server(stack, state)


def down(state: Path) -> bool:
    """Stop both, and have the server send nowhere from its next start on. Returns whether they ran."""
    ran = supervisor_of(state).shut_down()
    with contextlib.suppress(ConfigError):  # a file that cannot be read tells nobody where to send
        if OTLP in read_environment(state):
            change_environment(state, {}, remove=TOLD)
    return ran


def addresses(settings: ObserveSettings) -> dict[str, str]:
    """The address of each, for people and for the server."""
    return {
        "prometheus": f"http://127.0.0.1:{settings.prometheus_port}",
        "collector": f"http://127.0.0.1:{settings.otlp_port}",
    }


def ready(settings: ObserveSettings) -> dict[str, bool]:
    """Ask each once whether it is ready."""
    return {part: _answers(url) for part, url in _health(settings).items()}


def _told(settings: ObserveSettings) -> dict[str, str]:
    at = addresses(settings)
    ports = (str(getattr(settings, name)) for name in OWNERS)
    return dict(zip(TOLD, (at["collector"], at["prometheus"], *ports), strict=True))


def _child_environment(state: Path, settings: ObserveSettings) -> Mapping[str, str]:
    return {
        **os.environ,
        **read_environment(state),
        **_told(settings),
        "SWITCHYARD_OBSERVABILITY": str(programs.OBSERVABILITY),
        "SWITCHYARD_PROMETHEUS": str(programs.prometheus().binary),
        "SWITCHYARD_COLLECTOR": str(programs.collector().binary),
    }


def _health(settings: ObserveSettings) -> dict[str, str]:
    """The address that each answers only when it works, in the order in which they start."""
    return {
        "prometheus": f"http://127.0.0.1:{settings.prometheus_port}/-/ready",
        "collector": f"http://127.0.0.1:{settings.collector_health_port}/",
    }


def _await(supervisor: Supervisor, part: str, url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _answers(url):
        if time.monotonic() > deadline or supervisor.processes().get(part, {}).get("statename") == "FATAL":
            log = supervisor.state / "logs" / f"{part}.log"
            tail = log.read_text(errors="replace").splitlines()[-10:] if log.exists() else ["(no log)"]
            raise Unavailable("\n  ".join([f"{part} does not become ready; the end of {log}:", *tail]))
        time.sleep(0.05)


def _await_server(stack: Supervisor, state: Path) -> None:
    if wait_until_ready("server", read_environment(state), lambda: "server" in stack.processes()) is None:
        raise Unavailable("The server does not become ready again: `make logs PART=server` tells why.")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
