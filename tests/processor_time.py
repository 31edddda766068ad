"""Processor time of programs, held against limits that hold on any machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

SWITCHYARD = str(Path(sys.executable).with_name("switchyard"))
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Python keeps what it compiles: else each start would compile every module again."""
TYPER_SECONDS = 0.08
"""The processor time of `import typer.main` on the machine on which the limits were set."""


def processor_time(*program: str, env: Mapping[str, str], exit_code: int = 0) -> float:
    """The processor time of a program, in seconds: the least of four runs, because a busy machine adds to it."""

    def once() -> float:
        quiet = [(os.POSIX_SPAWN_OPEN, stream, "/dev/null", os.O_WRONLY, 0) for stream in (1, 2)]
        process = os.posix_spawn(program[0], program, {**ENVIRONMENT, **env}, file_actions=quiet)
        _, status, used = os.wait4(process, 0)
        assert os.waitstatus_to_exitcode(status) == exit_code
        return used.ru_utime + used.ru_stime

    return min(once() for _ in range(4))


def costs_at_most(seconds: float, *arguments: str, env: Mapping[str, str], exit_code: int = 0) -> bool:
    """Whether `switchyard` takes at most so much processor time. A slower machine gets more, in proportion."""
    slowness = processor_time(sys.executable, "-c", "import typer.main", env=env) / TYPER_SECONDS
    used = processor_time(SWITCHYARD, *arguments, env=env, exit_code=exit_code)
    sys.stderr.write(f"switchyard {' '.join(arguments)}: {used:.2f} s of processor time, slowness {slowness:.2f}\n")
    return used <= seconds * max(1.0, slowness)
