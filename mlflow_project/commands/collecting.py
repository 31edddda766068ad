"""Updates the tables of live traffic before a command reads them. Starts Spark only if new events are waiting."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mlflow_project.commands.knowledge import printed_by
from mlflow_project.commands.output import progress
from mlflow_project.errors import ConfigError

if TYPE_CHECKING:
    from mlflow_project.adapters.object_store import ObjectStore


def collect(store: ObjectStore) -> None:
    """Run the job `collect_feedback` if events are waiting. If the job fails, the command ends with its exit code.

    Raises:
        ConfigError: Spark is not installed here.
    """
    from mlflow_project.feedback.live import live_table, uncollected

    waiting = uncollected(store)
    if not waiting:
        return
    progress.print(f"Adding {len(waiting)} files of new events to the tables of live traffic …")
    places = f"s3a://{store.settings.raw_bucket}/events", live_table(store.settings, "answers").removesuffix("_answers")
    try:
        sys.stderr.write(printed_by("spark-submit", "collect_feedback.py", list(places)))
    except ConfigError as error:
        raise ConfigError(f"{error} Or give --no-collect.") from error
