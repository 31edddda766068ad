"""The demo on bad days: interrupted in each step, and with a part gone in each step. Always a sentence, never a stack
trace; and the next run goes through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stack.processes import up
from stack.supervision import Supervisor
from tests.conftest import ROOT, RunningStack

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

STEPS = range(1, 8)


class Demo:
    """A running demo in a process group of its own, as a shell would start it."""

    def __init__(self, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "demo"],
            cwd=ROOT,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said = ""

    def until_a_command_of_step(self, step: int) -> None:
        """Read on until the first command of a step is under way."""
        begun = False
        for line in self._lines():
            begun = begun or f"{step}/8 " in line
            if begun and line.startswith("$ "):
                return
        raise AssertionError(f"step {step} was not reached:\n{self.said[-3000:]}")

    def interrupt(self) -> None:
        """What Ctrl-C in a terminal does: the signal reaches the demo and the command that it runs."""
        os.killpg(self._process.pid, signal.SIGINT)

    def end(self) -> int:
        """Read the rest; the exit code."""
        for _ in self._lines():
            pass
        return self._process.wait(300)

    def _lines(self) -> Iterator[str]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said += line
            yield line


def test_interrupted_in_each_step_it_says_so_and_the_next_run_goes_through(stack: RunningStack) -> None:
    for step in STEPS:
        demo = Demo(stack.env)
        demo.until_a_command_of_step(step)
        demo.interrupt()
        assert demo.end() == 130, demo.said[-3000:]
        assert "Traceback" not in demo.said
        assert "run `make demo` again" in demo.said
    goes_through(stack)


@pytest.mark.parametrize("part", ["minio", "mlflow"])
def test_without_a_part_each_step_ends_with_a_sentence_and_the_next_run_goes_through(
    stack: RunningStack, part: str
) -> None:
    for step in STEPS:
        demo = Demo(stack.env)
        demo.until_a_command_of_step(step)
        with gone(stack.state, part):
            code = demo.end()
        assert "Traceback" not in demo.said, demo.said[-3000:]
        assert code in (0, 3), f"step {step} ended with {code}:\n{demo.said[-3000:]}"
    goes_through(stack)


def goes_through(stack: RunningStack) -> None:
    demo = Demo(stack.env)
    assert demo.end() == 0, demo.said[-3000:]


@contextmanager
def gone(state: Path, part: str) -> Iterator[None]:
    """The part is stopped; then started again and ready."""
    Supervisor(state).halt(part)
    try:
        yield
    finally:
        up(state, (part,), say=lambda _: None)
