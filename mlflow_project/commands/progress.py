"""How far an evaluation is, on stderr: a bar on a terminal, a line every few seconds in a task's log.

In: a label. Out: a context that gives `(done, total, cost in USD) -> None`, to be called after each case.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mlflow_project.commands.output import progress

Report = Callable[[int, int, float], None]

_PAUSE = 5.0
"""Seconds between two lines."""


@contextmanager
def asking(label: str) -> Iterator[Report]:
    """Cases done, rate, cost so far, time."""
    if not progress.is_terminal:
        yield _lines(label)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[extra]}"))
    with Progress(*columns, TimeElapsedColumn(), console=progress, transient=True) as bar:
        task = bar.add_task(f"{label}: questions", total=None, extra="")
        began = time.monotonic()

        def report(done: int, total: int, cost: float) -> None:
            bar.update(task, completed=done, total=total, extra=_rate(done, began, cost))

        yield report


def _lines(label: str) -> Report:
    began = said = time.monotonic()

    def report(done: int, total: int, cost: float) -> None:
        nonlocal said
        now = time.monotonic()
        if done == total or now - said >= _PAUSE:
            said = now
            progress.print(f"{label}: {done} of {total} questions, {_rate(done, began, cost)}, {now - began:.0f} s")

    return report


def _rate(done: int, began: float, cost: float) -> str:
    return f"{done / max(time.monotonic() - began, 1e-6):.0f}/s, {cost:.4f} USD"
