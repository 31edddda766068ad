"""Brings the tables of live traffic up to date before a command reads them; Spark starts only where that is needed."""

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
    """Run `collect_feedback` where events wait; ends with its exit code where it fails.

    Raises:
        ConfigError: Spark is not installed here.
    """
    from mlflow_project.feedback.live import live_table, uncollected

    waiting = uncollected(store)
    if not waiting:
        return
    progress.print(f"Collecting {len(waiting)} objects of events …")
    runner = Path(sys.prefix) / "bin" / "spark-submit"
    if not runner.exists():
        raise ConfigError(f"{runner} is not here: install the `spark` extra, or give --no-collect.")
    places = f"s3a://{store.settings.raw_bucket}/events", live_table(store.settings, "answers").removesuffix("_answers")
    done = subprocess.run([runner, _JOB, *places], env=_environment(), stdout=sys.stderr, check=False)
    if done.returncode:
        raise typer.Exit(done.returncode if 0 < done.returncode < 128 else 1)
