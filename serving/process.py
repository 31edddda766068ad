"""Runs the server: checks the settings, then starts the number of workers that they name, behind one socket."""

from __future__ import annotations

import sys

from mlflow_project.adapters.providers.endpoints import Endpoints
from mlflow_project.allowances import windows
from mlflow_project.errors import ConfigError, InvalidData
from mlflow_project.logs import set_up_logs
from mlflow_project.private_files import keep_files_private
from mlflow_project.settings import GuardSettings, ProviderSettings, ServerSettings, load
from mlflow_project.web.process import check_exposure, listen


def main() -> int:
    """Run until SIGTERM or SIGINT, and finish running requests. Returns the exit code; 2: a setting is wrong."""
    keep_files_private()
    set_up_logs()
    try:
        settings = load(ServerSettings)
        check_exposure("SWITCHYARD_API_HOST", settings.api_host)
        windows(load(GuardSettings).limits)
        Endpoints(load(ProviderSettings))
    except (ConfigError, InvalidData) as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    listen(
        "serving.app:create_app",
        settings.api_host,
        settings.api_port,
        settings.api_stop_seconds,
        workers=settings.api_workers,
        timeout_worker_healthcheck=settings.api_worker_silence,
    )
    return 0
