"""Shows on stderr what a command spends its time on: a bar on a terminal, lines in a task's log.

In: the name of a step. Out: a context that gives `(done, total, cost in USD) -> None`, to be called after each case.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mlflow_project.commands.output import progress

Report = Callable[[int, int, float], None]

_PAUSE = 5.0
"""Seconds between two lines of a log."""
_WORTH_A_WORD = 0.05
"""Seconds below which a step is not reported at the end."""


class Steps:
    """The steps of one command, one after the other, with the seconds that each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[Report]:
        """Shows that this step is at work until the block ends."""
        began = time.monotonic()
        try:
            with _bar(name) if progress.is_terminal else _lines(name) as report:
                yield report
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began

    def report(self) -> None:
        """Say how long each step took."""
        parts = [f"{name} {taken:.1f} s" for name, taken in self.seconds.items() if taken >= _WORTH_A_WORD]
        if parts:
            progress.print(f"Time: {'; '.join(parts)}.", highlight=False, soft_wrap=True)


@contextmanager
def _bar(name: str) -> Iterator[Report]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeElapsedColumn(), console=progress, transient=True) as bar:
        task = bar.add_task(name, total=None, rate="")
        began = time.monotonic()

        def report(done: int, total: int, cost: float) -> None:
            bar.update(task, completed=done, total=total, rate=_rate(done, total, began, cost))

        yield report


@contextmanager
def _lines(name: str) -> Iterator[Report]:
    began = said = time.monotonic()

    def report(done: int, total: int, cost: float) -> None:
        nonlocal said
        now = time.monotonic()
        if done == total or now - said >= _PAUSE:
            said = now
            progress.print(f"{name}: {done} of {total}, {_rate(done, total, began, cost)}, {now - began:.0f} s")

    progress.print(f"{name} ...")
    yield report


def _rate(done: int, total: int, began: float, cost: float) -> str:
    """Cases per second, the seconds that are left at that rate, and the cost so far."""
    rate = done / max(time.monotonic() - began, 1e-6)
    left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
    return f"{rate:.1f}/s{left}, {cost:.4f} USD"
