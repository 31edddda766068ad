"""How `mlflow run` enters: `python -m mlflow_project.commands.mlproject COMMAND …` runs `switchyard COMMAND …`.

MLflow makes exit code 1 of every failure, so a refusal by a rule (exit code 4) is told in another way: the reasons
are logged to the run as `verdict.txt`, the tag `switchyard.refused` is set, and the exit code is 0. All others pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REFUSED = 4


def main(arguments: list[str]) -> int:
    """Run the command; 0 for done or refused, its own exit code otherwise."""
    switchyard = Path(sys.executable).with_name("switchyard")
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_RUN_ID"}
    done = subprocess.run([switchyard, *arguments], env=environment, capture_output=True)
    said = done.stdout.decode() + done.stderr.decode()
    sys.stdout.write(said)
    log_outcome(done.returncode, said)
    return 0 if done.returncode == REFUSED else done.returncode


def log_outcome(exit_code: int, said: str) -> None:
    """Tell the run that `mlflow run` made what came of the command."""
    run = os.environ.get("MLFLOW_RUN_ID")
    if run is None:
        return
    from mlflow import MlflowClient

    client = MlflowClient()
    client.set_tag(run, "switchyard.refused", str(exit_code == REFUSED).lower())
    client.log_text(run, said, "verdict.txt" if exit_code == REFUSED else "output.txt")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
