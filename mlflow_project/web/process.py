"""What every server process does before it listens, and the settings of uvicorn that are the same for all of them."""

from __future__ import annotations

import resource

from mlflow_project.api_keys import KeyFile, by_id
from mlflow_project.errors import ConfigError
from mlflow_project.settings import KeySettings, load
from mlflow_project.web.keys import is_loopback

KEEP_ALIVE_SECONDS = 75
"""Longer than callers keep an idle connection (httpx 5 s, aiohttp 15 s, most load balancers 60 s). A server that closes
first loses a request that is on its way."""

SECURITY_HEADERS = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
]
"""The headers of every response, also of those that uvicorn makes itself."""


def allow_many_connections() -> None:
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
