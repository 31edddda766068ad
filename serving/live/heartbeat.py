"""Ends a worker whose event loop stands still, so that another one takes its place.

uvicorn's parent asks its workers whether they are alive, but a thread of its own answers that, also while the event
loop is stuck. Here the event loop itself winds up a timer again and again. The timer is Python's `faulthandler`: it
runs outside the interpreter, so it goes off even while a library holds the interpreter's lock. It writes where each
thread stands to the log and ends the process; uvicorn's parent, or whoever started a single worker, starts a new one.
A process that was stopped (SIGSTOP) cannot run its own timer: uvicorn's parent sees that, and `stack.watchdog` does
where there is only one worker.
"""

from __future__ import annotations

import asyncio
import faulthandler

BEAT_SECONDS = 1.0


async def keep_beating(silence_seconds: float) -> None:
    """Wind up the timer until cancelled. The worker ends when this task was not run for `silence_seconds`."""
    try:
        while True:
            faulthandler.dump_traceback_later(silence_seconds, exit=True)
            await asyncio.sleep(min(BEAT_SECONDS, silence_seconds / 4))
    finally:
        faulthandler.cancel_dump_traceback_later()
