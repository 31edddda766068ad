"""Runs the server: checks the settings, then starts the number of workers that they name, behind one socket."""

from __future__ import annotations

import resource
import sys

import uvicorn

from mlflow_project.adapters.providers.endpoints import Endpoints
from mlflow_project.allowances import windows
from mlflow_project.api_keys import KeyFile, by_id
from mlflow_project.errors import ConfigError, InvalidData
from mlflow_project.logs import set_up_logs
from mlflow_project.private_files import keep_files_private
from mlflow_project.settings import GuardSettings, KeySettings, ProviderSettings, ServerSettings, load
from serving.edge.keys import is_loopback
from serving.edge.protocol import PatientHttp

_KEEP_ALIVE_SECONDS = 75
"""Longer than callers keep an idle connection (httpx 5 s, aiohttp 15 s, most load balancers 60 s). A server that closes
first loses a request that is on its way."""

SECURITY_HEADERS = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
]
"""The headers of every response, also of those that uvicorn makes itself."""


def main() -> int:
    """Run until SIGTERM or SIGINT, and finish running requests. Returns the exit code; 2: a setting is wrong."""
    keep_files_private()
    set_up_logs()
    try:
        settings = load(ServerSettings)
        check_exposure(settings)
        windows(load(GuardSettings).limits)
        Endpoints(load(ProviderSettings))
    except (ConfigError, InvalidData) as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    _allow_many_connections()
    uvicorn.run(
        "serving.app:create_app",
        factory=True,
        host=settings.api_host,
        port=settings.api_port,
        workers=settings.api_workers,
        loop="uvloop",
        http=PatientHttp,
        ws="none",  # no route uses WebSockets, and an unfinished handshake would keep its connection for ever
        access_log=False,
        proxy_headers=False,
        log_config=None,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        server_header=False,
        headers=SECURITY_HEADERS,
        timeout_graceful_shutdown=settings.api_stop_seconds,
        timeout_worker_healthcheck=settings.api_worker_silence,
    )
    return 0


def _allow_many_connections() -> None:
    """Raise the limit of open files to what the system allows. Each connection is one, and the usual limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def check_exposure(settings: ServerSettings) -> None:
    """Check that an API key exists if other machines can reach the server.

    Raises:
        ConfigError: there is no key.
    """
    file = KeyFile(load(KeySettings).api_keys_file)
    if not is_loopback(settings.api_host) and not by_id(file.all()):
        raise ConfigError(
            f"SWITCHYARD_API_HOST is {settings.api_host}, beyond this machine, and there is no API key: create one "
            "with `switchyard keys create OWNER`, or bind to 127.0.0.1."
        )
