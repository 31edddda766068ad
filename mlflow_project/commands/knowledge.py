"""`prepare`, `restore` and `sql`: run the text jobs, and query the tables that they write.

Each job runs in its own process, with Spark's configuration from `<state>/spark/conf`; its exit code is passed on.
`prepare` starts by `spark-submit`. `restore` and `sql` use delta-rs, which needs no Spark.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated

import typer

from mlflow_project.commands.arguments import Text, whole_number
from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.errors import ConfigError, Refused, Unavailable
from mlflow_project.rules.reading_sql import refuse_writing

More = {"allow_extra_args": True, "ignore_unknown_options": True}
_START_UP_NOISE = (
    b"WARNING: Using incubator modules",
    b"Using Spark's default log4j profile",
    b"Setting default log level to",
    b"To adjust logging level",
    b"WARN NativeCodeLoader",
    b"netlib-blas: JNI_OnLoad",  # MLlib then computes in Java
)
_TOLD_TO_END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Engine(StrEnum):
    """Who runs a query."""

    datafusion = "datafusion"
    spark = "spark"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(context_settings=More)(prepare)
    app.command()(restore)
    app.command()(sql)


@reports_errors
def prepare(
    more: typer.Context,
    source: Annotated[
        Text, typer.Argument(metavar="IN", parser=str, help="JSON lines, a folder of texts, Parquet or Delta.")
    ],
    output: Annotated[
        Text, typer.Argument(metavar="OUT", parser=str, help="The chunk table to write, as in s3a://bucket/table.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    append: Annotated[bool, typer.Option("--append", help="Keep documents that the input does not hold.")] = False,
    max_deleted: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="Refuse to delete a larger share of the documents. Default: 0.1."),
    ] = None,
    max_rejected: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Refuse to reject a larger share of the rows. Default: 0.2.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Cut documents into chunks, in a Delta table.

    The input is the whole corpus: documents that it does not hold are deleted from the table. Other options are passed
    on to the Spark job, for example `--size`, `--overlap`, `--id-field` and `--duplicates`.
    """
    limits = {"--max-deleted": max_deleted, "--max-rejected": max_rejected}
    options = [f"{name}={share}" for name, share in limits.items() if share is not None]
    flags = [name for name, given in (("--dry-run", dry_run), ("--append", append)) if given]
    run_job("spark-submit", "llm_data_prep.py", [source, output, *more.args, *flags, *options], as_json)


@reports_errors
def restore(
    chunk_table: Annotated[Text, typer.Argument(metavar="TABLE", parser=str, help="A chunk table.")],
    version: Annotated[
        int | None,
        typer.Option(metavar="N", parser=whole_number(0), help="The Delta version to go back to. Default: list them."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Put a chunk table back to an earlier version.

    The tables of documents and quarantine go back with it. Prints which releases pin which version of the table.
    """
    chosen = [] if version is None else ["--version", str(version)]
    run_job("python", "restore_tables.py", [chunk_table, *chosen], as_json)


@reports_errors
def sql(
    query: Annotated[Text, typer.Argument(metavar="QUERY", parser=str, help="Tables are delta.`s3a://bucket/table`.")],
    engine: Annotated[
        Engine, typer.Option(help="Whose SQL: DataFusion's (no Spark starts) or Spark's.")
    ] = Engine.datafusion,
    as_json: Json = False,
) -> None:
    """Query Delta tables with DataFusion's SQL, or with Spark's.

    The default reads the tables with delta-rs and DataFusion, which answer in a second. `--engine spark` takes as long
    as Spark needs to start, and understands all queries of Spark SQL. A statement that writes is refused.
    """
    refuse_writing(query)
    if engine is Engine.spark:
        answer = json.loads(_output_of("spark-submit", "query_tables.py", [query]))
        columns, rows = answer["columns"], [tuple(row) for row in answer["rows"]]
    else:
        from mlflow_project.adapters.delta_tables import ask

        columns, rows = ask(query)
    data = [dict(zip(columns, row, strict=True)) for row in rows]
    emit(data, as_json, lambda console: console.print(table(columns, rows)))


def run_job(program: str, job: str, arguments: list[str], as_json: bool) -> None:
    """Run a job by a program of this environment and end with its exit code.

    Raises:
        ConfigError: Spark is not installed here, or the job's file is not. Unavailable: the job was killed.
    """
    if as_json:
        sys.stdout.write(_output_of(program, job, [*arguments, "--json"]))
    else:
        _run(program, job, arguments, stdout=None)


def _output_of(program: str, job: str, arguments: list[str]) -> str:
    """Return the last line that a job prints, which is its result; what it prints before goes to stderr.

    spark-submit writes a Python program's stderr to stdout.
    """
    *before, result = printed_by(program, job, arguments).splitlines(keepends=True) or [""]
    sys.stderr.writelines(before)
    return result


def printed_by(program: str, job: str, arguments: list[str]) -> str:
    """Run a job and return everything that it prints on stdout. If the job fails, the command ends with its exit code.

    Raises:
        ConfigError: Spark is not installed here, or the job's file is not.
    """
    return _run(program, job, arguments, stdout=subprocess.PIPE)


def _run(program: str, job: str, arguments: list[str], stdout: int | None) -> str:
    runner = Path(sys.prefix) / "bin" / program
    script = Path(__file__).parents[2] / "spark_jobs" / job
    if not runner.exists() or not script.exists():
        raise ConfigError(
            f"{runner if script.exists() else script} does not exist. Install the `spark` extra (`make setup` does)."
        )
    command = [str(runner), str(script), *arguments]
    with (
        subprocess.Popen(
            command, env=_environment(), stdout=stdout, stderr=subprocess.PIPE, start_new_session=True
        ) as process,
        _signals_passed_on(process) as received,
    ):
        reader = threading.Thread(target=_pass_on, args=(process.stderr,))
        reader.start()
        printed = process.stdout.read().decode() if process.stdout else ""
        code = process.wait()
        reader.join()
    if code:
        *before, last = printed.splitlines(keepends=True) or [""]
        report = code == Refused.exit_code and last.startswith("{")  # what a refused job found, asked for by --json
        sys.stderr.writelines(before)
        (sys.stdout if report else sys.stderr).write(last)
    if received:
        sys.stderr.write(f"Ended by {received[0].name}. Nothing is half done; run the same command again.\n")
        raise typer.Exit(128 + received[0])
    if code < 0:
        raise Unavailable(
            f"Something ended the job by {signal.Signals(-code).name}; if memory ran out, the system did. Nothing is "
            "half done; run the same command again."
        )
    if code:
        raise typer.Exit(code if code < 128 else 1)
    return printed


@contextmanager
def _signals_passed_on(process: subprocess.Popen[bytes]) -> Iterator[list[signal.Signals]]:
    """Pass on what tells this command to end: a job is several processes, all in the process group of the first one.
    Yields the signals that arrived."""
    received: list[signal.Signals] = []

    def pass_on(number: int, _: object) -> None:
        received.append(signal.Signals(number))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    heeded = [each for each in _TOLD_TO_END if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, pass_on) for each in heeded}
    try:
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _pass_on(lines: IO[bytes]) -> None:
    """Copy a job's messages to stderr, without what Java and Spark say whenever they start."""
    for line in lines:
        if not any(noise in line for noise in _START_UP_NOISE):
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()


def _environment() -> dict[str, str]:
    """The environment of a job: the caller's, with this Python for Spark's workers, and the stack's Spark settings."""
    from mlflow_project.settings import state_folder

    confs = state_folder() / "spark" / "conf"
    chosen = {"SPARK_CONF_DIR": str(confs)} if "SPARK_CONF_DIR" not in os.environ and confs.is_dir() else {}
    return {**os.environ, **chosen, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
