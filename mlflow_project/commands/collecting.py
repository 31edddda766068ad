"""Updates the tables of live traffic before a command reads them. Starts Spark only if new events are waiting."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mlflow_project.commands.knowledge import _environment
from mlflow_project.commands.output import progress
from mlflow_project.errors import ConfigError

if TYPE_CHECKING:
    from mlflow_project.adapters.object_store import ObjectStore

_JOB = Path(__file__).parents[2] / "spark_jobs" / "collect_feedback.py"


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
    runner = Path(sys.prefix) / "bin" / "spark-submit"
    if not runner.exists():
        raise ConfigError(
            f"{runner} does not exist. Install the `spark` extra (`make setup` does), or give --no-collect."
        )
    places = f"s3a://{store.settings.raw_bucket}/events", live_table(store.settings, "answers").removesuffix("_answers")
    done = subprocess.run([runner, _JOB, *places], env=_environment(), stdout=sys.stderr, check=False)
    if done.returncode:
        raise typer.Exit(done.returncode if 0 < done.returncode < 128 else 1)
