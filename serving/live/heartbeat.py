"""Ends a worker whose event loop is stuck, so that a new one takes its place.

uvicorn's parent process asks its workers whether they are alive, but a thread answers that, also while the event loop
is stuck. Here the event loop restarts a timer again and again. The timer is `faulthandler.dump_traceback_later`: it
runs outside the interpreter, so it expires even while a library holds the interpreter's lock. It then writes every
thread's stack to the log and ends the process; uvicorn's parent, or whatever started a single worker, starts a new one.
A stopped process (SIGSTOP) cannot run its timer. uvicorn's parent notices that; for a single worker `stack.watchdog`
does.
"""

from __future__ import annotations

import asyncio
import faulthandler

BEAT_SECONDS = 1.0


def start_beating(silence_seconds: float) -> asyncio.Task[None]:
    """Start the timer, and a task that restarts it until it is cancelled. The worker ends if its event loop does not
    run this task for `silence_seconds`.
    """
    faulthandler.dump_traceback_later(silence_seconds, exit=True)
    return asyncio.create_task(_keep_beating(silence_seconds))


async def _keep_beating(silence_seconds: float) -> None:
    try:
        while True:
            await asyncio.sleep(min(BEAT_SECONDS, silence_seconds / 4))
            faulthandler.dump_traceback_later(silence_seconds, exit=True)
    finally:
        faulthandler.cancel_dump_traceback_later()
