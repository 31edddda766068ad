"""Ports: which ones the stack wants, whether they are free, and which process holds the others."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from mlflow_project.errors import ConfigError
from stack.addresses import StackSettings
from stack.marks import state_of

OWNERS: Mapping[str, str] = {
    "minio_port": "minio",
    "minio_console_port": "minio",
    "mlflow_port": "mlflow",
    "api_port": "server",
    "console_port": "console",
}
"""The setting of each port, and the part that listens on it."""


def wanted_ports(settings: StackSettings, parts: Iterable[str]) -> dict[str, int]:
    """Setting -> port, of the parts that are named."""
    chosen = set(parts)
    return {name: getattr(settings, name) for name, part in OWNERS.items() if part in chosen}


def check_free(settings: StackSettings, parts: Iterable[str]) -> None:
    """Hold every port against what already listens.

    Raises:
        ConfigError: one or more are taken, or wanted twice; the message has a line each.
    """
    check_each(wanted_ports(settings, parts), OWNERS)


def check_each(ports: Mapping[str, int], owners: Mapping[str, str]) -> None:
    """The same for any ports: setting -> port, setting -> the part that is to listen there.

    Raises:
        ConfigError: as above.
    """
    mistakes = [
        f"  {port} ({owners[name]}) is taken by {holder(port)}: set SWITCHYARD_{name.upper()} to a free one."
        for name, port in ports.items()
        if not is_free(port)
    ]
    mistakes += [
        f"  {port} is wanted twice: SWITCHYARD_{name.upper()} needs a port of its own."
        for index, (name, port) in enumerate(ports.items())
        if port in list(ports.values())[:index]
    ]
    if mistakes:
        raise ConfigError("\n".join(["Nothing was started, since these ports cannot be used:", *mistakes]))


def is_free(port: int) -> bool:
    """Whether nobody listens on this port of the loopback addresses. MinIO takes the one of IPv6 too, and elsewhere a
    stranger there would get the calls that go to `localhost`."""
    return _can_bind(socket.AF_INET, "127.0.0.1", port) and _can_bind(socket.AF_INET6, "::1", port)


def _can_bind(family: socket.AddressFamily, address: str, port: int) -> bool:
    """Whether a program could listen there; also true where the machine has no addresses of this family."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
    return True


def holder(port: int) -> str:
    """The process that listens on a port, in words; never its command line, which may hold secrets."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.pid and tuple(connection.laddr)[1:2] == (port,):
            return _described(connection.pid)
    return "a process of somebody else's"


def free_port() -> int:
    """Return a port that nobody listens on at this moment, by chance, from below those that systems give to outgoing
    connections: nobody takes it by accident before it is used."""
    return next(port for port in random.sample(range(10_000, 32_000), 1_000) if is_free(port))


def _described(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        state = state_of(process)
        ours = f" of the stack in {state}: `SWITCHYARD_STATE={state} make down` ends it" if state else ""
        return f"{Path(process.name()).name} (process {pid}, of {process.username()}{ours})"
    except psutil.Error:
        return f"process {pid}"
