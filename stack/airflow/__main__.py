"""`python -m stack.airflow setup|up|down|status`, for the project's environment (`.venv/bin/python`).

`make airflow`, `make airflow-down` and `make status` call it. Exit codes as everywhere: 0, 2, 3.
"""

from __future__ import annotations

import argparse
import json
import sys
import time


def main(arguments: list[str]) -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m stack.airflow", description="Airflow beside the running stack.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("setup", help="make Airflow's Python environment")
    up = commands.add_parser("up", help="set up, start, and wait until Airflow has read the DAGs")
    up.add_argument("--active", action="store_true", help="let the DAGs start by themselves (they begin paused)")
    commands.add_parser("down", help="stop Airflow")
    commands.add_parser("status", help="the health of each part and the DAGs, as JSON")
    given = parser.parse_args(arguments)
    try:
        return _run(given)
    except ModuleNotFoundError as error:
        say(f"{error.name} is not installed for {sys.executable}: type `make setup`, then use .venv/bin/python.")
        return 2
    except KeyboardInterrupt:
        say("Interrupted. Run the same command again; it resumes. `make airflow-down` stops Airflow.")
        return 130


def _run(given: argparse.Namespace) -> int:
    from mlflow_project.errors import WorkspaceError
    from mlflow_project.private_files import keep_files_private

    keep_files_private()
    try:
        if given.command == "up":
            return up(active=given.active)
        return {"setup": set_up, "down": down, "status": status}[given.command]()
    except WorkspaceError as error:
        say(str(error))
        return error.exit_code


def set_up() -> int:
    """Make Airflow's Python environment."""
    from stack.airflow import environment

    if environment.is_ready():
        say("Airflow's environment is there.")
        return 0
    say("Airflow's environment is made from requirements/airflow.txt (540 MB; about a minute, longer without a cache).")
    started = time.monotonic()
    environment.set_up()
    say(f"Airflow's environment is made: {time.monotonic() - started:.0f} s.")
    return 0


def up(*, active: bool) -> int:
    """Set up and start Airflow; then say where it is and what it will do by itself."""
    from stack.airflow import home, processes

    set_up()
    started = time.monotonic()
    say("Airflow starts; this takes about a minute.")
    processes.start(say)
    if active:
        processes.unpause_all()
    say(f"Airflow is ready: {time.monotonic() - started:.0f} s")
    say(f"  web page and REST API   http://127.0.0.1:{home.port()}")
    say(f"  user {home.USER}, password in {home.address_file()} (yours alone)")
    say(f"  lineage events          {home.home() / 'lineage' / 'events.jsonl'}")
    paused = processes.state()["paused"]
    if paused:
        say(f"  paused                  {', '.join(paused)}: unpause them in the web page, or `make airflow ACTIVE=1`")
    else:
        say("  active                  every DAG starts by its schedule and by events")
    return 0


def down() -> int:
    """Stop Airflow."""
    from mlflow_project.settings import state_folder
    from stack.airflow import processes

    say("Airflow is stopped." if processes.stop(state_folder()) else "Airflow is not running.")
    return 0


def status() -> int:
    """Print Airflow's health as JSON; exit code 3 when it does not run."""
    from mlflow_project.settings import state_folder
    from stack.airflow import home, processes

    if not processes.supervisor_of(state_folder()).processes():
        say("Airflow is not running; `make airflow` starts it.")
        return 3
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{home.port()}", **processes.state()}, indent=2) + "\n")
    return 0


def say(text: str) -> None:
    """Write a line of progress."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
