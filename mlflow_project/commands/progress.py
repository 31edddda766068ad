"""Shows the progress of a command on stderr: a bar on a terminal, lines in a task's log.

In: the name of a step. Out: a context that yields `(done, total, cost in USD) -> None`, to be called after each case.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mlflow_project.commands.output import progress

Report = Callable[[int, int, float], None]

_PAUSE = 5.0
"""The seconds between two lines in a log."""
_LEAST_SECONDS = 0.05
"""A step that took less is left out of the summary at the end."""


class Steps:
    """The steps of one command, one after the other, with the seconds that each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[Report]:
        """Show the progress of this step until the block ends."""
        began = time.monotonic()
        try:
            with _bar(name) if progress.is_terminal else _lines(name) as report:
                yield report
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began

    def report(self) -> None:
        """Print how long each step took."""
        parts = [f"{name} {taken:.1f} s" for name, taken in self.seconds.items() if taken >= _LEAST_SECONDS]
        if parts:
            progress.print(f"Time: {'; '.join(parts)}.", highlight=False, soft_wrap=True)


@contextmanager
def _bar(name: str) -> Iterator[Report]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeElapsedColumn(), console=progress, transient=True) as bar:
        task = bar.add_task(name, total=None, rate="")
        rate = Rate()

        def report(done: int, total: int, cost: float) -> None:
            bar.update(task, completed=done, total=total, rate=rate.after(done, total, cost))

        yield report


@contextmanager
def _lines(name: str) -> Iterator[Report]:
    began = printed_at = time.monotonic()
    rate = Rate()

    def report(done: int, total: int, cost: float) -> None:
        nonlocal printed_at
        now, words = time.monotonic(), rate.after(done, total, cost)
        if done == total or now - printed_at >= _PAUSE:
            printed_at = now
            progress.print(f"{name}: {done} of {total}, {words}, {now - began:.0f} s", soft_wrap=True)

    progress.print(f"{name} ...")
    yield report


class Rate:
    """How fast cases are done. The first report is where it begins: the cases of that report took no time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[int, float] | None = None

    def after(self, done: int, total: int, cost: float) -> str:
        """Seconds per answer (or answers per second, if that is more than one), the time left, and the cost so far."""
        before, began = self._first = self._first or (done, self._clock())
        answers, seconds = done - before, self._clock() - began
        paid = f"{cost:.4f} USD"
        if not answers or not seconds:
            return f"{before} known already, {paid}" if before else paid
        each = seconds / answers
        speed = f"{each:.1f} s per answer" if each >= 1 else f"{1 / each:.1f} answers/s"
        left = f", {_duration(each * (total - done))} left" if done < total else ""
        return f"{speed}{left}, {paid}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
