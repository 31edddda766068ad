"""`python -m serving`: starts the workers and hands SIGTERM on to them; a running request is finished first."""

from __future__ import annotations

import sys

import uvicorn

from mlflow_project.errors import ConfigError
from mlflow_project.logs import set_up_logs
from mlflow_project.settings import ServerSettings, load


def main() -> int:
    """Run until told to stop; 2 when the settings are wrong."""
    set_up_logs()
    try:
        settings = load(ServerSettings)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    uvicorn.run(
        "serving.app:create_app",
        factory=True,
        host=settings.api_host,
        port=settings.api_port,
        workers=settings.api_workers,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=30,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
