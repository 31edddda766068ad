"""Runs a job as a program: its result goes to stdout, everything else to stderr, an error as one sentence.

Exit codes: 0 done; 1 internal error; 2 wrong usage or input; 3 a service cannot be reached; 4 refused by a rule.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from mlflow_project.adapters.run_flows import Flow
from mlflow_project.adapters.run_log import recorded_run
from mlflow_project.errors import WorkspaceError
from mlflow_project.logs import record_defect, set_up_logs
from mlflow_project.private_files import keep_files_private
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.sending import send_once
from spark_jobs.spark_internals import submitted_settings


class Arguments(argparse.ArgumentParser):
    """A parser that prints the given usage line and one message for a mistake, and ends with exit code 2."""

    def __init__(self, usage: str, description: str) -> None:
        super().__init__(usage=usage, description=description, allow_abbrev=False)
        self.add_argument("--json", action="store_true", help="print one JSON document on stdout")

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"Usage: {self.usage}\n{message}\n")
        sys.exit(2)


@dataclass(frozen=True)
class Lineage:
    """How a run is recorded: the name of the job, and a function from its result to what it reads and writes.

    The result is None when the job starts, and an error's report if it failed.
    """

    job: str
    flow: Callable[[Mapping[str, Any] | None], Flow]
    streams: bool = False


def share(text: str) -> float:
    """Read an option that is a share.

    Raises:
        ArgumentTypeError: the text is not a number from 0 to 1.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def run(
    job: Callable[[argparse.Namespace], Mapping[str, Any]],
    options: argparse.Namespace,
    title: str,
    meters: Meters | None = None,
    lineage: Lineage | None = None,
) -> int:
    """Run a job, print its result as a table or as JSON, send what it measured, and return the exit code.

    `lineage` says what the job reads and writes; the run is then recorded for `switchyard lineage publish`.
    """
    keep_files_private()
    set_up_logs()
    logging.getLogger("py4j").setLevel(logging.CRITICAL)  # it logs traces when Java ends; the job says it in a sentence
    try:
        with _ended_by_sigterm():
            result = job(options) if lineage is None else _recorded(job, options, lineage)
    except WorkspaceError as error:
        sys.stderr.write(f"{error}\n")
        if options.json and error.report is not None:
            sys.stdout.write(json.dumps(error.report, ensure_ascii=False) + "\n")
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        number = signal.SIGTERM if isinstance(interrupt, _Terminated) else signal.SIGINT
        sys.stderr.write(f"Ended by {number.name}. Nothing is half done; run the same command again.\n")
        return 128 + number
    except Exception as error:
        sys.stderr.write(f"Internal error in Switchyard: {type(error).__name__}: {error}\n{record_defect()}\n")
        return 1
    finally:
        if meters is not None:
            send_once(meters, "switchyard-job")
    if options.json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_closing(title, result))
    return 0


def _recorded(
    job: Callable[[argparse.Namespace], Mapping[str, Any]], options: argparse.Namespace, lineage: Lineage
) -> Mapping[str, Any]:
    """Run a job, and record the run with what it reads and writes."""
    begun = _known(lineage, None) or Flow()
    started_by = _started_by()
    with recorded_run(
        lineage.job, begun.inputs, begun.outputs, streams=lineage.streams, started_by=started_by
    ) as running:

        def describe(result: Mapping[str, Any] | None) -> None:
            flow = _known(lineage, result)
            if flow is not None:
                running.learn(flow)

        try:
            result = job(options)
        except WorkspaceError as error:
            if error.report is not None:
                describe(error.report)
            raise
        running.describe = lambda: describe(result)
        return result


def _started_by() -> dict[str, str] | None:
    """The runs that started this one, as Airflow's Spark operator tells any Spark job. None: the settings say it."""
    said = submitted_settings()
    named = {"parent": "parent", "root": "rootParent"}
    found = {
        name: [said.get(f"spark.openlineage.{key}{part}", "") for part in ("JobNamespace", "JobName", "RunId")]
        for name, key in named.items()
    }
    return {name: "/".join(parts) for name, parts in found.items()} if all(found["parent"]) else None


def _known(lineage: Lineage, result: Mapping[str, Any] | None) -> Flow | None:
    """What a run reads and writes. None if that cannot be read: lineage then lacks it, and the job goes on."""
    try:
        return lineage.flow(result)
    except Exception as error:
        logging.getLogger(__name__).warning("Lineage of %s lacks inputs and outputs: %s", lineage.job, error)
        return None


class _Terminated(KeyboardInterrupt):
    """SIGTERM arrived. Like Ctrl-C, it ends a job even while the job waits for Spark."""


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Raise `_Terminated` in the block when SIGTERM arrives. Ignores a second one, so that Spark can stop."""

    def end(*_: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _closing(title: str, result: Mapping[str, Any]) -> str:
    """The result as lines of name and value. A mapping or a list becomes indented lines; None is left out."""
    rows: list[tuple[str, Any]] = []
    for key, value in result.items():
        if isinstance(value, Mapping):
            rows.append((key, sum(value.values()) if all(type(v) is int for v in value.values()) else ""))
            rows += [(f"  {inner}", number) for inner, number in value.items()]
        elif isinstance(value, list):
            rows.append((key, len(value)))
            rows += [("", ", ".join(f"{name} {_plain(each)}" for name, each in item.items())) for item in value]
        elif value is not None:
            rows.append((key, value))
    width = max(len(key) for key, _ in rows)
    return "\n".join([title, *(f"  {key:{width}}  {_plain(value)}".rstrip() for key, value in rows)]) + "\n"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return (
        {True: "yes", False: "no"}[value]
        if isinstance(value, bool)
        else f"{value:,}"
        if type(value) is int
        else str(value)
    )
