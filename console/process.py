"""Runs the console: checks the settings, then listens."""

from __future__ import annotations

import sys

from mlflow_project.errors import ConfigError, InvalidData
from mlflow_project.logs import set_up_logs
from mlflow_project.private_files import keep_files_private
from mlflow_project.settings import ConsoleSettings, load
from mlflow_project.web.process import check_exposure, listen

_STOP_SECONDS = 15
"""Longer than a flip waits for its receipts by default."""
_HEADERS = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),  # with `no-referrer`, browsers hide the origin of the console's own forms
    ("cross-origin-opener-policy", "same-origin"),
]


def main() -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code; 2: a setting is wrong."""
    keep_files_private()
    set_up_logs()
    try:
        settings = load(ConsoleSettings)
        check_exposure("SWITCHYARD_CONSOLE_HOST", settings.console_host)
    except (ConfigError, InvalidData) as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    listen(
        "console.app:create_app",
        settings.console_host,
        settings.console_port,
        _STOP_SECONDS,
        headers=_HEADERS,
    )
    return 0
