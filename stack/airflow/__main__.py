"""`python -m stack.airflow setup|up|down|status`: what `make airflow` calls. Exit codes as everywhere: 0, 2, 3."""

from __future__ import annotations

import argparse
import json
import sys
import time

from mlflow_project.errors import WorkspaceError
from stack.airflow import environment, home, processes


def main(arguments: list[str]) -> int:
    """Do one command."""
    parser = argparse.ArgumentParser(prog="python -m stack.airflow", description="Airflow beside the running stack.")
    parser.add_argument("command", choices=("setup", "up", "down", "status"))
    command = parser.parse_args(arguments).command
    try:
        return {"setup": set_up, "up": up, "down": down, "status": status}[command]()
    except WorkspaceError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say("Interrupted. Run the same command again; it resumes. `python -m stack.airflow down` stops all of it.")
        return 130


def set_up() -> int:
    """Airflow's Python environment."""
    if environment.is_ready():
        say("Airflow's environment is there")
        return 0
    say("Airflow's environment is made from requirements/airflow.txt (540 MB)")
    started = time.monotonic()
    environment.set_up()
    say(f"Airflow's environment is made: {time.monotonic() - started:.0f} s")
    return 0


def up() -> int:
    """Set up and start; then say where it is."""
    set_up()
    started = time.monotonic()
    processes.start(say)
    say(f"Airflow is ready: {time.monotonic() - started:.0f} s")
    say(f"  web page and REST API   http://127.0.0.1:{home.port()}")
    say(f"  user {home.USER}, password in {home.address_file()} (yours alone)")
    say(f"  lineage events          {home.home() / 'lineage' / 'events.jsonl'}")
    return 0


def down() -> int:
    """Stop all of it."""
    stopped = processes.stop()
    say(f"Airflow is stopped ({stopped} processes)" if stopped else "Airflow is not running")
    return 0


def status() -> int:
    """Health as JSON; exit code 3 when it does not run."""
    if not processes.running():
        say("Airflow is not running; `make airflow` starts it")
        return 3
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{home.port()}", **processes.state()}, indent=2) + "\n")
    return 0


def say(text: str) -> None:
    """A line of progress."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
