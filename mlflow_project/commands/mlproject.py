"""The entry points of `mlflow run`: `python -m mlflow_project.commands.mlproject COMMAND ... [--on-refusal fail|log]`.

Runs `switchyard COMMAND ...` and logs its output to the run that `mlflow run` made: `verdict.txt` when a rule refused
the command (exit code 4), else `output.txt`. The tag `switchyard.refused` says which. `--on-refusal` decides how a
refusal ends: `fail` (the default) keeps exit code 4, of which MLflow makes 1; `log` ends with 0, and only the tag and
`verdict.txt` tell. Every other exit code passes through.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mlflow_project.errors import ConfigError, Refused

OPTION = "--on-refusal"
CHOICES = ("fail", "log")


def main(arguments: list[str]) -> int:
    """Run the command, log its output, and return the exit code."""
    words, on_refusal = _split(arguments)
    if on_refusal not in CHOICES:
        sys.stderr.write(f"on_refusal is {on_refusal!r}, and must be {' or '.join(CHOICES)}. Nothing was run.\n")
        return ConfigError.exit_code
    switchyard = Path(sys.executable).with_name("switchyard")
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_RUN_ID"}
    done = subprocess.run([switchyard, *words], env=environment, capture_output=True)
    output = done.stdout.decode() + done.stderr.decode()
    sys.stdout.write(output)
    refused = done.returncode == Refused.exit_code
    log_outcome(refused, output)
    return 0 if refused and on_refusal == "log" else done.returncode


def log_outcome(refused: bool, output: str) -> None:
    """Log the output, and whether a rule refused the command, to the run that `mlflow run` made."""
    run = os.environ.get("MLFLOW_RUN_ID")
    if run is None:
        return
    from mlflow import MlflowClient

    client = MlflowClient()
    client.set_tag(run, "switchyard.refused", str(refused).lower())
    client.log_text(run, output, "verdict.txt" if refused else "output.txt")


def _split(arguments: list[str]) -> tuple[list[str], str]:
    """The words of the command, and the value of `--on-refusal`, which is the last option."""
    if OPTION not in arguments:
        return arguments, CHOICES[0]
    at = arguments.index(OPTION)
    return arguments[:at], " ".join(arguments[at + 1 :])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
