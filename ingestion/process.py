"""Runs the ingestion service: checks the settings and the schemas, then listens."""

from __future__ import annotations

import sys

from mlflow_project.adapters.schema_folder import read_streams
from mlflow_project.allowances import windows
from mlflow_project.errors import WorkspaceError
from mlflow_project.logs import set_up_logs
from mlflow_project.private_files import keep_files_private
from mlflow_project.settings import GuardSettings, IngestionSettings, KafkaSettings, load
from mlflow_project.web.process import check_exposure, listen

_STOP_SECONDS = 20


def main() -> int:
    """Run until SIGTERM or SIGINT, and finish running requests. Returns the exit code; 2: a setting is wrong."""
    keep_files_private()
    set_up_logs()
    try:
        settings = load(IngestionSettings)
        check_exposure("SWITCHYARD_INGEST_HOST", settings.ingest_host)
        windows(load(GuardSettings).limits)
        read_streams(load(KafkaSettings).schemas_folder)
    except WorkspaceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    listen("ingestion.app:create_app", settings.ingest_host, settings.ingest_port, _STOP_SECONDS)
    return 0
