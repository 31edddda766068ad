"""How set-up speaks: one line for each step that is finished, and one now and then for those that are not; the same on
a terminal and in a CI log. Standard library only."""

from __future__ import annotations

import sys
import threading
import time

TICK_SECONDS = 15.0


class Progress:
    """What one step has done so far; the step writes, the reporter's lines read."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.began = time.monotonic()
        self._doing = "waits"
        self._done: int | None = None
        self._of: int | None = None

    def now(self, doing: str, done: int | None = None, of: int | None = None) -> None:
        """Say what is being done, and how much of how much."""
        self._doing, self._done, self._of = doing, done, of

    def words(self) -> str:
        """The step's state."""
        count = "" if self._of is None else f", {self._done:,} of {self._of:,}"
        return f"{self.step} {self._doing}{count}"


class Ticker:
    """While it is entered, says every quarter of a minute how far the unfinished steps are."""

    def __init__(self, steps: dict[str, Progress]) -> None:
        self._began = time.monotonic()
        self._unfinished = steps
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Ticker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def finished(self, step: str, outcome: str) -> None:
        """Print a step's last line."""
        progress = self._unfinished.pop(step)
        say(f"  {step:12} {outcome} ({elapsed(time.monotonic() - progress.began)})")

    def _run(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            rows = [progress.words() for progress in list(self._unfinished.values())]
            say(f"  … {elapsed(time.monotonic() - self._began)}: {'; '.join(rows)}")


def say(text: str) -> None:
    """One line for a person, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def elapsed(seconds: float) -> str:
    """`0.4 s`, `42 s` or `3 min 07 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
