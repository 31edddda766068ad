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


def start_beating(silence_seconds: float) -> asyncio.Task[None]:
    """Wind up the timer now, and again and again until the task is cancelled. The worker ends when its event loop did
    not run the task for `silence_seconds`."""
    faulthandler.dump_traceback_later(silence_seconds, exit=True)
    return asyncio.create_task(_keep_beating(silence_seconds))


async def _keep_beating(silence_seconds: float) -> None:
    try:
        while True:
            await asyncio.sleep(min(BEAT_SECONDS, silence_seconds / 4))
            faulthandler.dump_traceback_later(silence_seconds, exit=True)
    finally:
        faulthandler.cancel_dump_traceback_later()
