"""`prepare`, `sql`, `index`: doors to the Spark jobs, and to the tables that they made.

A job runs in a process of its own with the confs of `<state>/spark/conf`, and its exit code is passed on: `prepare` by
`spark-submit`, `index` by Python, which starts Spark only where vectors are missing. `sql` reads Delta tables without
Spark's start-up time, by delta-rs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.errors import ConfigError
from mlflow_project.settings import state_folder

More = {"allow_extra_args": True, "ignore_unknown_options": True}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(context_settings=More)(prepare)
    app.command()(index)
    app.command()(sql)


@reports_errors
def prepare(
    more: typer.Context,
    source: Annotated[str, typer.Argument(metavar="IN", help="JSON lines, a folder of texts, Parquet or Delta.")],
    output: Annotated[str, typer.Argument(metavar="OUT", help="The chunk table, such as s3a://bucket/table.")],
    as_json: Json = False,
) -> None:
    """Documents to chunks. Other options go to the job as they are: `--size`, `--overlap`, `--max-rejected` …"""
    run_job("spark-submit", "llm_data_prep.py", [source, output, *more.args], as_json)


@reports_errors
def index(
    chunk_table: Annotated[str, typer.Argument(metavar="TABLE", help="A chunk table.")],
    version: Annotated[int | None, typer.Option(help="Its Delta version; the newest by default.")] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="Also vectors, for hybrid search.")] = False,
    as_json: Json = False,
) -> None:
    """Build the search index of one Delta version, unless it has one."""
    chosen = [] if version is None else ["--version", str(version)]
    run_job("python", "build_index.py", [chunk_table, *chosen, *(["--vectors"] if vectors else [])], as_json)


@reports_errors
def sql(query: str, as_json: Json = False) -> None:
    """Ask a query; write tables as delta.`s3a://bucket/table`."""
    from mlflow_project.adapters.delta_tables import ask

    columns, rows = ask(query)
    data = [dict(zip(columns, row, strict=True)) for row in rows]
    emit(data, as_json, lambda console: console.print(table(columns, rows)))


def run_job(program: str, job: str, arguments: list[str], as_json: bool) -> None:
    """Run a job by a program of this environment and end with its exit code.

    Raises:
        ConfigError: Spark is not installed here, or the job's file is not.
    """
    runner = Path(sys.prefix) / "bin" / program
    script = Path(__file__).parents[2] / "spark_jobs" / job
    if not runner.exists() or not script.exists():
        raise ConfigError(f"{runner if script.exists() else script} is not here: install the `spark` extra.")
    command = [str(runner), str(script), *arguments, *(["--json"] if as_json else [])]
    code = subprocess.run(command, env=_environment(), check=False).returncode
    if code:
        raise typer.Exit(code if 0 < code < 128 else 1)


def _environment() -> dict[str, str]:
    """The caller's environment, with this Python for Spark's workers and the stack's confs where there are some."""
    confs = state_folder() / "spark" / "conf"
    chosen = {"SPARK_CONF_DIR": str(confs)} if "SPARK_CONF_DIR" not in os.environ and confs.is_dir() else {}
    return {**os.environ, **chosen, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
