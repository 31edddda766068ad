"""`python -m stack setup|doctor|up|down|status|logs|clean|prepare`: what the Makefile calls.

`setup` and `doctor` run on a bare Python 3.11 or 3.12; the others need the environment that set-up makes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence

from mlflow_project.errors import ConfigError, Unavailable, WorkspaceError
from stack.progress import say


def main(arguments: Sequence[str]) -> int:
    """Run one command; the exit codes are those of `switchyard`."""
    given = _parser().parse_args(arguments)
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "setup": _setup,
        "doctor": _doctor,
        "up": _up,
        "down": _down,
        "status": _status,
        "logs": _logs,
        "clean": _clean,
        "prepare": _prepare,
    }
    try:
        return commands[given.command](given)
    except WorkspaceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except OSError as error:
        where = f" on {error.filename}" if error.filename else ""
        sys.stderr.write(f"The system refused{where}: {error.strerror or error}. Mend that, and run the same again.\n")
        return Unavailable.exit_code
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"{error.name} is not installed for {sys.executable}: type `make setup`, then use .venv/bin/python.\n"
        )
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. What was finished stays; run the same command again.\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stack", description="Set-up and processes of this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    setup = commands.add_parser("setup", help="build, install and fetch what is missing")
    setup.add_argument("--checks", action="store_true", help="with the tools of `make check`")
    setup.add_argument("--ingestion", action="store_true", help="with Kafka's client and Kafka itself")
    for name in ("doctor", "status"):
        commands.add_parser(name).add_argument("--json", action="store_true")
    commands.add_parser("up", help="start the parts and wait until each is ready")
    commands.add_parser("prepare", help="buckets, users and the gate's key, for a store that runs elsewhere")
    commands.add_parser("down", help="stop everything of this stack")
    logs = commands.add_parser("logs", help="the end of the parts' logs")
    logs.add_argument("part", nargs="?")
    logs.add_argument("--follow", action="store_true")
    clean = commands.add_parser("clean", help="stop everything and remove its data")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _setup(given: argparse.Namespace) -> int:
    from stack.setup import DEMO_GROUPS, TEST_GROUPS, set_up

    groups = TEST_GROUPS if given.checks else DEMO_GROUPS
    set_up((*groups, "ingestion") if given.ingestion else groups)
    if given.ingestion or given.checks:
        from stack.ingest.kafka import fetch_all

        fetch_all()
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from stack.doctor import examine

    checks = examine()
    if given.json:
        say(json.dumps([check.to_dict() for check in checks]))
    else:
        for check in checks:
            say(f"{'ok ' if check.ok else 'NO '} {check.check:12} {check.found}")
            if not check.ok:
                say(f"    {'':12} wanted: {check.wanted}. {check.fix}")
    return 0 if all(check.ok for check in checks) else ConfigError.exit_code


def _up(_: argparse.Namespace) -> int:
    from mlflow_project.private_files import keep_files_private
    from mlflow_project.settings import state_folder
    from stack.addresses import sourcing
    from stack.processes import up

    keep_files_private()
    up(state_folder(), say=say)
    line = sourcing(state_folder())
    say(f"`switchyard` reads the stack's settings by itself. For other programs, type in your shell: {line}")
    return 0


def _prepare(_: argparse.Namespace) -> int:
    from mlflow_project.seal.keys import ensure_key
    from mlflow_project.settings import SealSettings, StoreSettings, load
    from stack.processes import prepare_store

    users = prepare_store(load(StoreSettings))
    ensure_key(load(SealSettings))
    say("The buckets and the gate's key are there.")
    say(
        "MinIO's users are there, each with the rights that it needs."
        if users
        else "No users were made: without SWITCHYARD_S3_ADMIN_ACCESS_KEY and _SECRET_KEY every program has all rights."
    )
    return 0


def _down(_: argparse.Namespace) -> int:
    from mlflow_project.settings import state_folder
    from stack.processes import down

    down(state_folder(), say=say)
    return 0


def _status(given: argparse.Namespace) -> int:
    from mlflow_project.settings import state_folder
    from stack.status import status_of_all

    rows = status_of_all(state_folder())
    if given.json:
        say(json.dumps(rows))
        return 0
    say(f"{'part':14}{'state':11}{'ready':7}{'pid':>8}{'memory':>10}  address")
    for row in rows:
        memory = f"{row['memory_mb']:.0f} MB" if row["memory_mb"] else ""
        ready = "yes" if row["ready"] else "no"
        say(f"{row['part']:14}{row['state']:11}{ready:7}{row['pid'] or '':>8}{memory:>10}  {row['address']}")
    if any(row["state"] == "orphan" for row in rows):
        say("An orphan is left from a process that was killed. `make up` and `make down` end it.")
    stopped = {row["part"] for row in rows if row["state"] == "stopped"}
    for part, target in {"server": "up", "scheduler": "airflow", "prometheus": "observe", "kafka": "ingest"}.items():
        if part in stopped:
            say(f"`make {target}` starts {_TARGETS[target]}.")
    return 0


_TARGETS = {
    "up": "the stack",
    "airflow": "Airflow",
    "observe": "Prometheus and the collector",
    "ingest": "Kafka and ingestion",
}


def _logs(given: argparse.Namespace) -> int:
    from mlflow_project.settings import state_folder
    from stack.processes import log_files

    files = log_files(state_folder(), given.part)
    os.execvp("tail", ["tail", "-n", "40", *(["-F"] if given.follow else []), *map(str, files)])


def _clean(given: argparse.Namespace) -> int:
    from mlflow_project.settings import state_folder
    from stack.processes import clean

    state = state_folder()
    if state.exists() and not given.yes:
        sys.stdout.write(f"This removes {state}: every prompt, release, table and log of this stack. Type yes: ")
        sys.stdout.flush()
        if sys.stdin.readline().strip() != "yes":
            say("Nothing was removed.")
            return ConfigError.exit_code
    clean(state, say=say)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
