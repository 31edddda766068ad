"""`python -m stack.ingest up|down`, which `make ingest` and `make ingest-down` call. Exit codes: 0, 2, 3."""

from __future__ import annotations

import argparse
import sys

from mlflow_project.errors import WorkspaceError
from mlflow_project.private_files import keep_files_private
from mlflow_project.settings import state_folder
from stack.ingest import kafka, processes
from stack.progress import say


def main(arguments: list[str]) -> int:
    """Do one command."""
    parser = argparse.ArgumentParser(prog="python -m stack.ingest", description="Kafka and the ingestion of texts.")
    parser.add_argument("command", choices=("up", "down"))
    command = parser.parse_args(arguments).command
    keep_files_private()
    try:
        return {"up": up, "down": down}[command]()
    except WorkspaceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. What was finished stays; run the same command again.\n")
        return 130


def up() -> int:
    """Fetch Kafka where it is missing, and start all parts."""
    kafka.fetch_all()
    processes.up(state_folder(), say=say)
    return 0


def down() -> int:
    """Stop all parts; `make down` does it too."""
    say("Stopped." if processes.down(state_folder()) else "Nothing was running.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
