"""Runs an HTTP service: the checks before it listens, and the settings of uvicorn that all services share."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from typing import Any

import uvicorn

from mlflow_project.api_keys import KeyFile, by_id
from mlflow_project.errors import ConfigError
from mlflow_project.settings import KeySettings, load
from mlflow_project.web.keys import is_loopback
from mlflow_project.web.protocol import PatientHttp

KEEP_ALIVE_SECONDS = 75
"""Longer than callers keep an idle connection (httpx 5 s, aiohttp 15 s, most load balancers 60 s). A server that closes
first loses a request that is on its way."""

SECURITY_HEADERS = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
]
"""The headers of every response of a service, also of those that uvicorn makes itself."""


def listen(
    application: str,
    host: str,
    port: int,
    stop_seconds: int,
    headers: Sequence[tuple[str, str]] = SECURITY_HEADERS,
    **more: Any,
) -> None:
    """Run an application until SIGTERM or SIGINT, and finish running requests.

    Args:
        application: the factory, as `module:function`.
        stop_seconds: how long running requests may take at the end.
        headers: those of every response.
        more: further settings of `uvicorn.run`.
    """
    _allow_many_connections()
    uvicorn.run(
        application,
        factory=True,
        host=host,
        port=port,
        loop="uvloop",
        http=PatientHttp,
        ws="none",  # no route uses WebSockets, and an unfinished handshake would keep its connection for ever
        access_log=False,
        proxy_headers=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
        headers=list(headers),
        timeout_graceful_shutdown=stop_seconds,
        **more,
    )


def _allow_many_connections() -> None:
    """Raise the limit of open files to what the system allows. Each connection is one, and the usual limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def check_exposure(setting: str, host: str) -> None:
    """Check that an API key exists if other machines can reach the server.

    Args:
        setting: the environment variable that holds the host, for the message.

    Raises:
        ConfigError: there is no key.
    """
    file = KeyFile(load(KeySettings).api_keys_file)
    if not is_loopback(host) and not by_id(file.all()):
        raise ConfigError(
            f"{setting} is {host}, beyond this machine, and there is no API key: create one "
            "with `switchyard keys create OWNER`, or bind to 127.0.0.1."
        )
