"""`python -m stack.observe up|down|status`, which `make observe` and `make observe-down` call. Exit codes: 0, 2, 3."""

from __future__ import annotations

import argparse
import json
import sys

from mlflow_project.errors import Unavailable, WorkspaceError
from mlflow_project.settings import load, state_folder
from stack.observe import processes, programs
from stack.progress import say


def main(arguments: list[str]) -> int:
    """Do one command."""
    parser = argparse.ArgumentParser(prog="python -m stack.observe", description="Prometheus and the collector.")
    parser.add_argument("command", choices=("up", "down", "status"))
    command = parser.parse_args(arguments).command
    try:
        return {"up": up, "down": down, "status": status}[command]()
    except WorkspaceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. What was finished stays; run the same command again.\n")
        return 130


def up() -> int:
    """Build both where needed, start them, and have the server send to them."""
    programs.build_all(programs.prometheus(), programs.collector())
    processes.up(state_folder(), say=say)
    return 0


def down() -> int:
    """Stop both; `make down` does it too."""
    say("Stopped." if processes.down(state_folder()) else "Nothing was running.")
    return 0


def status() -> int:
    """Addresses and readiness as JSON; exit code 3 when one of them is not ready."""
    settings = load(processes.ObserveSettings)
    ready, at = processes.ready(settings), processes.addresses(settings)
    say(json.dumps({part: {"address": at[part], "ready": ready[part]} for part in ready}))
    return 0 if all(ready.values()) else Unavailable.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
