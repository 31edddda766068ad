"""Runs public commands as a person would: prints each before its output, so that a reader can repeat it by hand."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from mlflow_project.settings import state_folder

console = Console(highlight=False, soft_wrap=True)


class StepFailed(Exception):
    """A command of the demo did not end as it should; the message names it, and `exit_code` is the command's own."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code or 1


def _environment() -> dict[str, str]:
    """The caller's environment with this project's own programs first on PATH, and Spark's settings of this stack."""
    own = str(Path(sys.prefix) / "bin")
    return {
        **os.environ,
        "PATH": own + os.pathsep + os.environ.get("PATH", ""),
        "SPARK_CONF_DIR": str(state_folder() / "spark" / "conf"),
        "PYTHONUNBUFFERED": "1",
    }


def step(number: int, of: int, title: str) -> None:
    """A heading: which step, of how many."""
    console.print(f"\n[bold]{number}/{of}  {title}[/bold]")


def say(text: str) -> None:
    """A remark between commands."""
    console.print(text, style="dim", markup=False)


def run(*command: str, expect: int = 0) -> None:
    """Print a command, run it with its output shown, and hold it to its exit code.

    Raises:
        StepFailed: it ended with another exit code.
    """
    console.print(f"$ {shlex.join(command)}", style="cyan", markup=False)
    started = time.monotonic()
    code = subprocess.run(command, env=_environment(), stdin=subprocess.DEVNULL).returncode
    note = f"  (exit {code}, as it should)" if expect else ""
    console.print(f"  {time.monotonic() - started:.1f} s{note}", style="dim", markup=False)
    if code != expect:
        raise StepFailed(
            f"`{shlex.join(command)}` ended with exit code {code}, not {expect}: its output says why.", code
        )


def show(*command: str) -> Any:
    """Print a command with `--json`, run it, print its document, and return that.

    Raises:
        StepFailed: it did not end with exit code 0.
    """
    console.print(f"$ {shlex.join(command)} --json", style="cyan", markup=False)
    started = time.monotonic()
    document = read(*command)
    console.print_json(data=document)
    console.print(f"  {time.monotonic() - started:.1f} s", style="dim", markup=False)
    return document


def read(*command: str) -> Any:
    """A command's `--json` document, unshown: how the demo learns numbers that people read off the screen.

    Raises:
        StepFailed: it did not end with exit code 0.
    """
    done = subprocess.run([*command, "--json"], env=_environment(), stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        said = done.stderr.decode().strip()
        raise StepFailed(f"`{shlex.join(command)} --json` ended with {done.returncode}: {said}", done.returncode)
    return json.loads(done.stdout)
